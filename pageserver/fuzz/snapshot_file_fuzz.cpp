// A snapshot file of arbitrary bytes: it opens or is refused; what opens can be read.
#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>

#include "common/base/posix_file.h"
#include "pageserver/layers/snapshot_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    zenith::UniqueFd file(memfd_create("snapshot", MFD_CLOEXEC));
    std::string path = "/proc/self/fd/" + std::to_string(file.get());
    if (!file.valid() ||
        !zenith::WriteAllAt(file.get(), path, 0, std::as_bytes(std::span(data, size))).ok()) {
        abort();
    }
    auto snapshot = zenith::SnapshotFile::Open(path);
    if (!snapshot.ok()) {
        return 0;
    }
    int reads = 0;
    for (const zenith::RelationEntry& entry : (*snapshot)->relations()) {
        for (zenith::BlockNumber block = 0; block < entry.blocks && reads < 1000; block++) {
            reads++;
            auto page = (*snapshot)->ReadPage(zenith::PageKey::Relation(entry.rel, block));
            page.status().Ignore("a damaged page is refused");
        }
    }
    for (zenith::SlruKind kind : zenith::kSlruKinds) {
        for (zenith::BlockNumber block : (*snapshot)->SlruPages(kind)) {
            auto page = (*snapshot)->ReadPage(zenith::PageKey::Slru(kind, block));
            page.status().Ignore("a damaged page is refused");
        }
    }
    return 0;
}
