// Page requests and responses from arbitrary bytes: what decodes must encode to the same bytes.
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>

#include "common/pagestream/pagestream_codec.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    std::span<const std::byte> message = std::as_bytes(std::span(data, size));
    std::string text(reinterpret_cast<const char*>(data), size);
    if (auto request = zenith::DecodePageRequest(message); request.ok()) {
        std::string again;
        zenith::AppendPageRequest(*request, &again);
        if (again != text) {
            abort();
        }
    }
    if (auto response = zenith::DecodePageResponse(message); response.ok()) {
        std::string again;
        zenith::AppendPageResponse(*response, &again);
        if (again != text) {
            abort();
        }
    }
    return 0;
}
