// ByteReader takes fixed-width numbers and spans from a buffer and never reads past its end.
//
// After a read that does not fit, ok() is false for good and every further read returns zeroes, so
// a decoder may read a whole struct and check once. Little-endian (file and WAL formats) and
// big-endian (network formats) reads are named apart. The buffer must outlive the reader and the
// spans it returned. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace zenith {

class ByteReader {
  public:
    explicit ByteReader(std::span<const std::byte> data) : data_(data) {}

    bool ok() const { return ok_; }
    size_t offset() const { return offset_; }
    size_t remaining() const { return data_.size() - offset_; }

    uint8_t U8() { return Little<uint8_t>(); }
    uint16_t U16Le() { return Little<uint16_t>(); }
    uint32_t U32Le() { return Little<uint32_t>(); }
    uint64_t U64Le() { return Little<uint64_t>(); }
    uint16_t U16Be() { return __builtin_bswap16(Little<uint16_t>()); }
    uint32_t U32Be() { return __builtin_bswap32(Little<uint32_t>()); }
    uint64_t U64Be() { return __builtin_bswap64(Little<uint64_t>()); }

    // An empty span (and !ok()) when fewer than n bytes are left.
    std::span<const std::byte> Bytes(size_t n) {
        if (!Take(n)) {
            return {};
        }
        return data_.subspan(offset_ - n, n);
    }
    void Skip(size_t n) { Take(n); }
    // Bytes up to a terminating zero, which is consumed; !ok() when there is none.
    std::string_view CString() {
        if (ok_) {
            const void* end = std::memchr(data_.data() + offset_, 0, remaining());
            if (remaining() > 0 && end != nullptr) {
                const char* begin = reinterpret_cast<const char*>(data_.data() + offset_);
                size_t length = static_cast<size_t>(static_cast<const char*>(end) - begin);
                offset_ += length + 1;
                return {begin, length};
            }
        }
        ok_ = false;
        return {};
    }

  private:
    bool Take(size_t n) {
        if (!ok_ || n > remaining()) {
            ok_ = false;
            return false;
        }
        offset_ += n;
        return true;
    }
    template <typename T>
    T Little() {
        T value = 0;
        if (Take(sizeof(T))) {
            std::memcpy(&value, data_.data() + offset_ - sizeof(T), sizeof(T));
        }
        return value;
    }

    std::span<const std::byte> data_;
    size_t offset_ = 0;
    bool ok_ = true;
};

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "WAL is read as little-endian");

}  // namespace zenith
