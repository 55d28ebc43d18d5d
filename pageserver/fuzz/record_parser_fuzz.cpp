// WAL from arbitrary bytes: the assembler takes it as a stream, the parser takes every record it
// finds and the bytes themselves as one record.
#include <cstdint>
#include <span>

#include "pageserver/wal_decoder/decoded_record.h"
#include "pageserver/wal_decoder/record_assembler.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using zenith::Lsn;
    std::span<const std::byte> bytes = std::as_bytes(std::span(data, size));
    zenith::DecodedRecord decoded;
    zenith::DecodeRecord(Lsn(0x1000028), Lsn(0x1000028 + size), bytes, &decoded)
        .Ignore("any outcome but a crash is fine");

    // In two pieces, so that the border is somewhere inside.
    zenith::RecordAssembler assembler(Lsn(0x1000028), Lsn(), 1);
    size_t half = size == 0 ? 0 : data[0] * size / 256;
    for (std::span<const std::byte> piece : {bytes.first(half), bytes.subspan(half)}) {
        assembler.Feed(piece);
        zenith::RecordAssembler::Record record;
        while (assembler.NextRecord(&record) == zenith::RecordAssembler::Outcome::kRecord) {
            zenith::DecodeRecord(record.start, record.end, record.bytes, &decoded)
                .Ignore("any outcome but a crash is fine");
        }
    }
    return 0;
}
