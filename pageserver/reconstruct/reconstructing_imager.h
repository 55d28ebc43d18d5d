// ReconstructingImager: gives layers the images of pages that they replace long histories by.
//
// Images of one page that are asked for together, in ascending order of LSN, cost one pass over its
// records: each is the base of the next. Different pages go to the applier together.
// Threads  as PageImager: any. The reconstructor outlives it.
#pragma once

#include "pageserver/layers/page_imager.h"
#include "pageserver/reconstruct/page_reconstructor.h"

namespace zenith {

class ReconstructingImager final : public PageImager {
  public:
    explicit ReconstructingImager(PageReconstructor& reconstructor)
        : reconstructor_(reconstructor) {}

    std::vector<Result<std::optional<PageBuffer>>> Images(Timeline& timeline,
                                                          std::span<const Wanted> wanted) override;

  private:
    PageReconstructor& reconstructor_;
};

}  // namespace zenith
