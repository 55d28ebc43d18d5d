// The text of a command: whatever it is, it parses or is refused with a hint.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "pageserver/page_service/command_parser.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    std::string_view text(reinterpret_cast<const char*>(data), size);
    auto command = zenith::ParseCommand(text);
    if (!command.ok() && command.status().hint().empty()) {
        abort();
    }
    return 0;
}
