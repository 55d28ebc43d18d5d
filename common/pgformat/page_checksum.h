// The checksum in the header of a relation's page, for clusters that were made with
// --data-checksums. Source: storage/checksum_impl.h of PostgreSQL 15. Pure functions.
#pragma once

#include <cstdint>

#include "common/pgformat/page_format.h"
#include "common/pgformat/relation_key.h"

namespace zenith {

// What belongs into pd_checksum of this page when it is block `block` of its fork. Never 0; what is
// in pd_checksum does not matter.
uint16_t PageChecksum(ConstPageSpan page, BlockNumber block);

// Sets pd_checksum, except in a page without contents (PageIsNew), which has none: as
// PageSetChecksumInplace() of a cluster with checksums.
void SetPageChecksum(PageSpan page, BlockNumber block);

}  // namespace zenith
