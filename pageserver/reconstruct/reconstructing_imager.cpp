#include "pageserver/reconstruct/reconstructing_imager.h"

#include <unordered_map>
#include <utility>

namespace zenith {

std::vector<Result<std::optional<PageBuffer>>> ReconstructingImager::Images(
    Timeline& timeline, std::span<const Wanted> wanted) {
    constexpr size_t kNone = SIZE_MAX;
    // Of each image, the one of the same page that comes before it, and how many do.
    std::vector<size_t> before(wanted.size(), kNone);
    std::vector<std::vector<size_t>> waves;
    std::unordered_map<PageKey, std::pair<size_t, size_t>> last;  // index, wave
    for (size_t i = 0; i < wanted.size(); i++) {
        size_t wave = 0;
        auto [found, is_new] = last.try_emplace(wanted[i].key);
        if (!is_new) {
            before[i] = found->second.first;
            wave = found->second.second + 1;
        }
        found->second = {i, wave};
        if (wave == waves.size()) {
            waves.emplace_back();
        }
        waves[wave].push_back(i);
    }

    std::vector<Result<std::optional<PageBuffer>>> results(
        wanted.size(), Status::Internal("the page was not rebuilt"));
    std::vector<PageReconstructor::Wanted> asked;
    for (const std::vector<size_t>& wave : waves) {
        asked.clear();
        for (size_t i : wave) {
            PageReconstructor::Wanted& page = asked.emplace_back();
            page.key = wanted[i].key;
            page.at = wanted[i].at;
            const size_t base = before[i];
            if (base != kNone && results[base].ok() && results[base]->has_value()) {
                page.known_at = wanted[base].at;
                page.known = &**results[base];
            }
        }
        std::vector<PageReconstructor::PageResult> pages =
            reconstructor_.GetPagesAt(timeline, asked);
        for (size_t k = 0; k < wave.size() && k < pages.size(); k++) {
            results[wave[k]] = std::move(pages[k]);
        }
    }
    return results;
}

}  // namespace zenith
