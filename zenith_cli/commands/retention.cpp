// zenith retention: how much history is kept.
#include <CLI/CLI.hpp>
#include <memory>

#include "common/base/units.h"
#include "zenith_cli/commands/command.h"
#include "zenith_cli/output.h"
#include "zenith_cli/page_server.h"

namespace zenith {

namespace {

struct RetentionOptions {
    std::string pitr_interval;
    std::string retain_bytes;
    bool json = false;
};

Result<int> RunRetention(const Repository& repository, const RetentionOptions& options) {
    ZENITH_ASSIGN_OR_RETURN(RepoConfig config, repository.ReadConfig());
    if (!options.pitr_interval.empty()) {
        ZENITH_ASSIGN_OR_RETURN(config.pitr_interval_seconds, ParseInterval(options.pitr_interval));
    }
    if (!options.retain_bytes.empty()) {
        ZENITH_ASSIGN_OR_RETURN(config.retain_bytes, ParseSize(options.retain_bytes));
    }
    if (!options.pitr_interval.empty() || !options.retain_bytes.empty()) {
        PageServer server(repository);
        // While it runs the page server writes its configuration, and has to know.
        if (server.FindProcess()) {
            ZENITH_RETURN_IF_ERROR(
                server
                    .Query("retention " + std::to_string(config.pitr_interval_seconds) + " " +
                           std::to_string(config.retain_bytes))
                    .status());
        } else {
            ZENITH_RETURN_IF_ERROR(repository.WriteConfig(config));
        }
    }
    if (options.json) {
        Print("{\"pitr_interval_seconds\": " + std::to_string(config.pitr_interval_seconds) +
              ", \"retain_bytes\": " + std::to_string(config.retain_bytes) + "}\n");
    } else {
        Print("pitr interval  " + FormatInterval(config.pitr_interval_seconds) +
              "\nretain bytes   " + FormatSize(config.retain_bytes) + "\n");
    }
    return kExitOk;
}

}  // namespace

void AddRetentionCommand(CLI::App& app, CommandRun& chosen) {
    auto options = std::make_shared<RetentionOptions>();
    CLI::App* command = app.add_subcommand("retention", "show or set how much history is kept");
    command
        ->add_option("--pitr-interval", options->pitr_interval,
                     "every moment of so long is kept: 7d, '12 h', 30min")
        ->type_name("INTERVAL");
    command
        ->add_option("--retain-bytes", options->retain_bytes,
                     "so much of the newest WAL is kept however old it is: 1GB")
        ->type_name("SIZE");
    command->add_flag("--json", options->json, "as JSON");
    command->footer("Branch points, tags and the starts of running computes stay readable besides.");
    command->callback([options, &chosen] {
        chosen.run = [options](const GlobalOptions& globals) -> Result<int> {
            ZENITH_ASSIGN_OR_RETURN(Repository repository, OpenRepository(globals));
            return RunRetention(repository, *options);
        };
    });
}

}  // namespace zenith
