// The settings a compute is started with: zenith_compute.conf, and the one setting that must not be
// left to configuration files.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/result.h"
#include "common/repo/repository.h"

namespace zenith {

// 'value' as a string of postgresql.conf (guc-file.l): quotes and backslashes doubled, control
// characters as octal escapes.
std::string QuoteSetting(std::string_view value);

// "name=value" of --set. kInvalidArgument for what is no setting's name and for settings that
// belong to the CLI or the page server.
Result<std::pair<std::string, std::string>> ParseSetting(const std::string& text);

// How the page server reaches the compute.
std::string ComputeConnstr(const Repository& repository, const ComputeFile& compute);

// The text of zenith_compute.conf.
std::string ComputeConfText(const Repository& repository, const ComputeFile& compute);

// What of the text of postgresql.auto.conf (ALTER SYSTEM) goes on into the next data directory of a
// compute: all but the settings that ParseSetting reserves.
std::string KeptAutoConf(const std::string& auto_conf);

// The texts of pg_hba.conf and pg_ident.conf with lines that let in the page server, which connects
// through the Unix socket as the repository's owner, `system_user`, and has no password. They come
// first, so that no other line keeps it out; where they are already, the text stays as it is.
std::string HbaWithPageServer(const std::string& hba, std::string_view system_user);
std::string IdentWithPageServer(const std::string& ident, std::string_view system_user);

// The value for shared_preload_libraries: what the compute's settings or ALTER SYSTEM
// (`auto_conf`, the text of postgresql.auto.conf, wins) ask for, with "zenith" in front. It is
// given on the command line, because a server without the extension would take holes for empty
// pages.
std::string PreloadLibraries(const ComputeFile& compute, const std::string& auto_conf);

}  // namespace zenith
