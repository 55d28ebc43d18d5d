// PageFilter: which pages a layer file has nothing about, told from about 10 bits a page: a Bloom
// filter whose bits for one key lie in one cache line. Format: layer_file_format.md.
//
// Keys are those of the file (EncodeKey): pages, and relations that have floors.
// Thread rule: as a standard container.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace zenith {

inline constexpr size_t kFilterLineSize = 64;
inline constexpr int kFilterBitsPerKey = 10;
inline constexpr int kFilterProbes = 6;

// Stored in the file by way of the bits it sets: not to be changed within a version.
inline uint64_t PageFilterHash(std::string_view key) {
    uint64_t hash = 0x9E3779B97F4A7C15ull ^ key.size();
    while (!key.empty()) {
        uint64_t word = 0;
        const size_t n = key.size() < sizeof word ? key.size() : sizeof word;
        std::memcpy(&word, key.data(), n);
        key.remove_prefix(n);
        hash = (hash ^ word) * 0xFF51AFD7ED558CCDull;
        hash ^= hash >> 32;
    }
    hash *= 0xC4CEB9FE1A85EC53ull;
    return hash ^ (hash >> 29);
}

// The line of a key, of `lines`, and the bits in it.
inline size_t PageFilterLine(uint64_t hash, size_t lines) {
    return static_cast<size_t>((hash >> 32) * lines >> 32);
}
// function(bit 0..511) for each probe, until one returns false; false then.
template <typename Function>
bool ForPageFilterBits(uint64_t hash, Function&& function) {
    uint64_t low = (hash & 0xFFFFFFFF) * 0x9E3779B97F4A7C15ull;
    for (int i = 0; i < kFilterProbes; i++, low <<= 9) {
        if (!function(static_cast<unsigned>(low >> 55))) {
            return false;
        }
    }
    return true;
}

class PageFilter {
  public:
    PageFilter() = default;
    // Requires: a multiple of kFilterLineSize bytes. None: a filter of no keys.
    explicit PageFilter(std::string bytes) : bytes_(std::move(bytes)) {}

    // False: the key was not added.
    bool MayHave(uint64_t hash) const {
        const size_t lines = bytes_.size() / kFilterLineSize;
        if (lines == 0) {
            return false;
        }
        const char* line = bytes_.data() + PageFilterLine(hash, lines) * kFilterLineSize;
        return ForPageFilterBits(hash, [&](unsigned bit) {
            return (static_cast<uint8_t>(line[bit / 8]) >> bit % 8 & 1) != 0;
        });
    }
    size_t memory_bytes() const { return bytes_.capacity(); }

  private:
    std::string bytes_;
};

// 8 bytes for each key until the filter is made.
class PageFilterBuilder {
  public:
    void Add(uint64_t hash) {
        if (hashes_.empty() || hashes_.back() != hash) {
            hashes_.push_back(hash);
        }
    }
    std::string Finish() const {
        const size_t bits = hashes_.size() * kFilterBitsPerKey;
        const size_t lines = (bits + kFilterLineSize * 8 - 1) / (kFilterLineSize * 8);
        std::string bytes(lines * kFilterLineSize, '\0');
        for (uint64_t hash : hashes_) {
            char* line = bytes.data() + PageFilterLine(hash, lines) * kFilterLineSize;
            ForPageFilterBits(hash, [&](unsigned bit) {
                line[bit / 8] = static_cast<char>(line[bit / 8] | 1 << bit % 8);
                return true;
            });
        }
        return bytes;
    }

  private:
    std::vector<uint64_t> hashes_;
};

}  // namespace zenith
