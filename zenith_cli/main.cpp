// The program zenith. What it can do is in commands/command_table.cpp.
#include <sys/stat.h>

#include "zenith_cli/commands/command.h"
#include "zenith_cli/interrupt.h"
#include "zenith_cli/program_paths.h"

int main(int argc, char** argv) {
    // Nothing of a repository is for others to read.
    umask(077);
    zenith::RememberOwnProgram(argv[0]);
    zenith::InstallInterruptHandlers();
    return zenith::RunZenith(argc, argv);
}
