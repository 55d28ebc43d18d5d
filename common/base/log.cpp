#include "common/base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

namespace zenith {

void InitLog(const std::string& path) {
    std::shared_ptr<spdlog::logger> logger;
    if (path.empty()) {
        logger = spdlog::stderr_logger_mt("zenith");
    } else {
        logger = spdlog::basic_logger_mt("zenith", path);
    }
    logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %z [%t] %l: %v");
    logger->flush_on(spdlog::level::info);
    spdlog::set_default_logger(std::move(logger));
}

}  // namespace zenith
