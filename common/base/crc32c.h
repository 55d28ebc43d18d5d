// CRC-32C (Castagnoli), the checksum of PostgreSQL's WAL records and control file.
// Uses the SSE 4.2 instruction where the processor has it, a table otherwise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace zenith {

// Running value: start with kCrc32cInit, extend any number of times, finish once.
inline constexpr uint32_t kCrc32cInit = 0xFFFFFFFFu;
uint32_t Crc32cExtend(uint32_t crc, std::span<const std::byte> data);
inline uint32_t Crc32cFinish(uint32_t crc) { return crc ^ 0xFFFFFFFFu; }

inline uint32_t Crc32c(std::span<const std::byte> data) {
    return Crc32cFinish(Crc32cExtend(kCrc32cInit, data));
}

}  // namespace zenith
