// ByteWriter appends fixed-width numbers to a growing buffer: the counterpart of ByteReader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace zenith {

class ByteWriter {
  public:
    void U8(uint8_t v) { buffer_.push_back(static_cast<char>(v)); }
    void U16Le(uint16_t v) { Raw(&v, sizeof v); }
    void U32Le(uint32_t v) { Raw(&v, sizeof v); }
    void U64Le(uint64_t v) { Raw(&v, sizeof v); }
    void U16Be(uint16_t v) { U16Le(__builtin_bswap16(v)); }
    void U32Be(uint32_t v) { U32Le(__builtin_bswap32(v)); }
    void U64Be(uint64_t v) { U64Le(__builtin_bswap64(v)); }
    void Bytes(std::span<const std::byte> data) { Raw(data.data(), data.size()); }
    void Text(std::string_view text) { buffer_.append(text); }
    void CString(std::string_view text) {
        buffer_.append(text);
        buffer_.push_back('\0');
    }
    void Zeros(size_t n) { buffer_.append(n, '\0'); }

    size_t size() const { return buffer_.size(); }
    // Overwrites four bytes written earlier, for lengths known only at the end.
    void PatchU32Be(size_t offset, uint32_t v) {
        v = __builtin_bswap32(v);
        buffer_.replace(offset, sizeof v, reinterpret_cast<const char*>(&v), sizeof v);
    }
    void PatchU32Le(size_t offset, uint32_t v) {
        buffer_.replace(offset, sizeof v, reinterpret_cast<const char*>(&v), sizeof v);
    }
    const std::string& buffer() const { return buffer_; }
    std::string Take() { return std::move(buffer_); }
    std::span<const std::byte> bytes() const {
        return std::as_bytes(std::span(buffer_.data(), buffer_.size()));
    }

  private:
    void Raw(const void* data, size_t n) { buffer_.append(static_cast<const char*>(data), n); }
    std::string buffer_;
};

}  // namespace zenith
