// FakeImager: images without redo. What stands for the contents of a page is a number made from all
// the records that lead to it, so that an image in the place of records can be told from a wrong
// one.
#pragma once

#include <atomic>
#include <cstring>
#include <string>

#include "pageserver/layers/page_imager.h"
#include "pageserver/layers/timeline.h"
#include "pageserver/layers/wal_storage.h"

namespace zenith {

inline constexpr char kFakeImageMark[] = "an image of a page with number ";

// The number of the page that the history leads to.
inline uint64_t FoldPage(const PageHistory& history) {
    auto mix = [](uint64_t a, uint64_t b) {
        a = (a ^ b) * 0xFF51AFD7ED558CCDull;
        return a ^ a >> 29;
    };
    uint64_t number = 0;
    if (history.base) {
        const char* bytes = reinterpret_cast<const char*>(history.base->data());
        if (std::memcmp(bytes, kFakeImageMark, sizeof kFakeImageMark) == 0) {
            std::memcpy(&number, bytes + sizeof kFakeImageMark, sizeof number);
        } else {
            number = mix(1, std::hash<std::string_view>()({bytes, kPageSize}));
        }
    }
    for (const RecordRef& ref : history.records) {
        if ((ref.flags & kRefWillInit) != 0) {
            number = 0;
        }
        for (uint64_t part :
             {std::hash<std::string>()(ref.wal->directory()), ref.start.value, ref.end.value,
              uint64_t{ref.flags}, uint64_t{ref.database.spc}, uint64_t{ref.database.db}}) {
            number = mix(number, part);
        }
    }
    return number;
}

class FakeImager final : public PageImager {
  public:
    std::vector<Result<std::optional<PageBuffer>>> Images(Timeline& timeline,
                                                          std::span<const Wanted> wanted) override {
        std::vector<Result<std::optional<PageBuffer>>> images;
        for (const Wanted& page : wanted) {
            images.push_back(Image(timeline, page));
        }
        return images;
    }

    std::atomic<uint64_t> made{0};
    std::atomic<bool> failing{false};

  private:
    Result<std::optional<PageBuffer>> Image(Timeline& timeline, const Wanted& page) {
        if (failing.load()) {
            return Status::Unavailable("no redo process");
        }
        ZENITH_ASSIGN_OR_RETURN(PageHistory history, timeline.CollectPage(page.key, page.at));
        if (!history.exists()) {
            return std::optional<PageBuffer>();
        }
        made++;
        std::optional<PageBuffer> image(std::in_place);
        image->fill(std::byte{0});
        const uint64_t number = FoldPage(history);
        std::memcpy(image->data(), kFakeImageMark, sizeof kFakeImageMark);
        std::memcpy(image->data() + sizeof kFakeImageMark, &number, sizeof number);
        return image;
    }
};

}  // namespace zenith
