/*-------------------------------------------------------------------------
 *
 * zenith_smgr_install.c
 *	  the only file that knows how stock PostgreSQL 15's storage manager table is replaced
 *
 * smgrsw[] in smgr.c is static and constant: it lies in the part of the executable that the loader
 * makes read-only after relocation (PT_GNU_RELRO). Every md function in it is exported, so the one
 * place where their addresses stand in the table's order is the table. We make its page writable,
 * swap entries, and make it read-only again. All processes inherit the change by fork.
 *
 * Finding the table is not enough: a compiler may call an entry directly. GCC does that to init,
 * open and immedsync in Debian's build, so those can not be replaced. Two proofs that the others
 * are reached: each replaced callback is called once through smgr.c with a canary in its place, and
 * the program text outside md.c is searched for direct calls of the function it replaces (x86-64).
 *
 * The layout and the order are those of smgr.c in PostgreSQL 15; smgr_truncate has four arguments
 * from 15.11 on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <dlfcn.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include "storage/md.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "zenith_smgr_install.h"

#if PG_VERSION_NUM < 150011 || PG_VERSION_NUM >= 160000
#error "zenith needs the server headers of PostgreSQL 15.11 or a later 15.x"
#endif

#define FIRST_4_ARG_TRUNCATE 150011

enum
{
	ENTRY_INIT,
	ENTRY_SHUTDOWN,
	ENTRY_OPEN,
	ENTRY_CLOSE,
	ENTRY_CREATE,
	ENTRY_EXISTS,
	ENTRY_UNLINK,
	ENTRY_EXTEND,
	ENTRY_PREFETCH,
	ENTRY_READ,
	ENTRY_WRITE,
	ENTRY_WRITEBACK,
	ENTRY_NBLOCKS,
	ENTRY_TRUNCATE,
	ENTRY_IMMEDSYNC,
	ENTRY_COUNT
};

typedef void (*AnyFunction) (void);

static const char *const entry_names[ENTRY_COUNT] = {
	"init", "shutdown", "open", "close", "create", "exists", "unlink", "extend", "prefetch",
	"read", "write", "writeback", "nblocks", "truncate", "immedsync"
};

static const AnyFunction md_entries[ENTRY_COUNT] = {
	(AnyFunction) mdinit, NULL, (AnyFunction) mdopen, (AnyFunction) mdclose,
	(AnyFunction) mdcreate, (AnyFunction) mdexists, (AnyFunction) mdunlink,
	(AnyFunction) mdextend, (AnyFunction) mdprefetch, (AnyFunction) mdread,
	(AnyFunction) mdwrite, (AnyFunction) mdwriteback, (AnyFunction) mdnblocks,
	(AnyFunction) mdtruncate, (AnyFunction) mdimmedsync
};

/* What dl_iterate_phdr tells about the main program. */
typedef struct ProgramImage
{
	char	   *relro_start;
	char	   *relro_end;
	const unsigned char *text_start;
	const unsigned char *text_end;
} ProgramImage;

static void
refuse(const char *what, const char *detail)
{
	ereport(FATAL,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("zenith cannot serve this PostgreSQL server: %s", what),
			 detail ? errdetail_internal("%s", detail) : 0,
			 errhint("Use the PostgreSQL 15 package of Debian that zenith was built for, and keep other storage manager libraries out of shared_preload_libraries.")));
}

static void
check_version(void)
{
	int			server_version = atoi(GetConfigOption("server_version_num", false, false));
	char		detail[128];

	snprintf(detail, sizeof(detail), "Built for version %d, running in version %d.",
			 PG_VERSION_NUM, server_version);
	if (server_version / 10000 != PG_VERSION_NUM / 10000)
		refuse("it has another major version", detail);
	if (server_version < FIRST_4_ARG_TRUNCATE)
		refuse("it is older than 15.11", detail);
}

static int
inspect_program(struct dl_phdr_info *info, size_t size, void *arg)
{
	ProgramImage *image = (ProgramImage *) arg;
	int			i;

	for (i = 0; i < info->dlpi_phnum; i++)
	{
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		char	   *start = (char *) info->dlpi_addr + header->p_vaddr;

		if (header->p_type == PT_GNU_RELRO)
		{
			image->relro_start = start;
			image->relro_end = start + header->p_memsz;
		}
		else if (header->p_type == PT_LOAD && (header->p_flags & PF_X) != 0)
		{
			image->text_start = (const unsigned char *) start;
			image->text_end = (const unsigned char *) start + header->p_memsz;
		}
	}
	return 1;					/* the main program comes first; no others are wanted */
}

/* The table, or FATAL. */
static AnyFunction *
find_table(const ProgramImage *image)
{
	AnyFunction *found = NULL;
	AnyFunction *candidate;
	int			matches = 0;

	if (image->relro_start == NULL)
		refuse("the executable has no read-only-after-relocation segment", NULL);

	for (candidate = (AnyFunction *) TYPEALIGN(sizeof(AnyFunction), image->relro_start);
		 (char *) (candidate + ENTRY_COUNT) <= image->relro_end;
		 candidate++)
	{
		if (memcmp(candidate, md_entries, sizeof(md_entries)) == 0)
		{
			found = candidate;
			matches++;
		}
	}
	if (matches == 0)
		refuse("its storage manager table was not found unchanged", NULL);
	if (matches > 1)
		refuse("it has more than one storage manager table", NULL);
	return found;
}

/*
 * Makes the table's pages writable or read-only. Fails when one of them is not wholly in the
 * segment, since taking write permission away afterwards would hurt other data.
 */
static void
protect_table(const ProgramImage *image, AnyFunction *table, bool writable)
{
	uintptr_t	page_size = (uintptr_t) sysconf(_SC_PAGESIZE);
	uintptr_t	start = TYPEALIGN_DOWN(page_size, table);
	uintptr_t	end = TYPEALIGN(page_size, table + ENTRY_COUNT);

	/* The loader rounds the segment's borders down to pages. */
	if (start < TYPEALIGN_DOWN(page_size, image->relro_start) ||
		end > TYPEALIGN_DOWN(page_size, image->relro_end))
		refuse("its storage manager table is not in protected memory", NULL);

	if (mprotect((void *) start, end - start,
				 writable ? PROT_READ | PROT_WRITE : PROT_READ) != 0)
		ereport(FATAL,
				(errmsg("could not change the protection of the storage manager table: %m"),
				 errhint("Allow the server to change the protection of its own memory.")));
}

#ifdef __x86_64__
static const unsigned char *
function_end(AnyFunction function)
{
	Dl_info		info;
	const ElfW(Sym) *symbol = NULL;
	const unsigned char *start = (const unsigned char *) function;

	if (dladdr1((void *) function, &info, (void **) &symbol, RTLD_DL_SYMENT) != 0 &&
		symbol != NULL)
		return start + symbol->st_size;
	return start;
}

/*
 * Looks for call, jmp and conditional jumps to a function that is about to be replaced, outside
 * md.c, whose functions may call each other. A call in data or in the middle of an instruction
 * would be a false alarm; the chance is that of four random bytes hitting one of eleven addresses.
 */
static void
check_no_direct_calls(const ProgramImage *image, const AnyFunction *wanted)
{
	const unsigned char *md_start = NULL;
	const unsigned char *md_end = NULL;
	const unsigned char *byte;
	int			i;

	for (i = 0; i < ENTRY_COUNT; i++)
	{
		const unsigned char *start = (const unsigned char *) md_entries[i];

		if (start == NULL)
			continue;
		if (start < image->text_start || start >= image->text_end)
			refuse("its storage manager is not part of the executable", NULL);
		if (md_start == NULL || start < md_start)
			md_start = start;
		if (md_end == NULL || function_end(md_entries[i]) > md_end)
			md_end = function_end(md_entries[i]);
	}

	for (byte = image->text_start; byte + 5 <= image->text_end; byte++)
	{
		int32		distance;
		const unsigned char *target;

		if (*byte != 0xE8 && *byte != 0xE9 &&
			!((*byte & 0xF0) == 0x80 && byte > image->text_start && byte[-1] == 0x0F))
			continue;
		memcpy(&distance, byte + 1, sizeof(distance));
		target = byte + 5 + distance;
		if (target < md_start || target >= md_end || (byte >= md_start && byte < md_end))
			continue;
		for (i = 0; i < ENTRY_COUNT; i++)
		{
			if (wanted[i] != NULL && target == (const unsigned char *) md_entries[i])
			{
				char		detail[128];

				snprintf(detail, sizeof(detail), "The storage manager's \"%s\" is called directly at %p.",
						 entry_names[i], (const void *) byte);
				refuse("it was built so that its storage manager table is bypassed", detail);
			}
		}
	}
}
#endif

/*
 * Canaries: each notes that it was reached, and does nothing else.
 */
static bool canary_reached[ENTRY_COUNT];

static void
canary_close(SMgrRelation reln, ForkNumber forknum)
{
	canary_reached[ENTRY_CLOSE] = true;
}

static void
canary_create(SMgrRelation reln, ForkNumber forknum, bool isRedo)
{
	canary_reached[ENTRY_CREATE] = true;
}

static bool
canary_exists(SMgrRelation reln, ForkNumber forknum)
{
	canary_reached[ENTRY_EXISTS] = true;
	return false;
}

static void
canary_extend(SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum, char *buffer,
			  bool skipFsync)
{
	canary_reached[ENTRY_EXTEND] = true;
}

static bool
canary_prefetch(SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum)
{
	canary_reached[ENTRY_PREFETCH] = true;
	return false;
}

static void
canary_read(SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum, char *buffer)
{
	canary_reached[ENTRY_READ] = true;
}

static void
canary_write(SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum, char *buffer,
			 bool skipFsync)
{
	canary_reached[ENTRY_WRITE] = true;
}

static void
canary_writeback(SMgrRelation reln, ForkNumber forknum, BlockNumber blocknum,
				 BlockNumber nblocks)
{
	canary_reached[ENTRY_WRITEBACK] = true;
}

static BlockNumber
canary_nblocks(SMgrRelation reln, ForkNumber forknum)
{
	canary_reached[ENTRY_NBLOCKS] = true;
	return 0;
}

/* smgrdounlinkall() and smgrtruncate2() need shared memory, so those two have no canary. */
static const AnyFunction canaries[ENTRY_COUNT] = {
	[ENTRY_CLOSE] = (AnyFunction) canary_close,
	[ENTRY_CREATE] = (AnyFunction) canary_create,
	[ENTRY_EXISTS] = (AnyFunction) canary_exists,
	[ENTRY_EXTEND] = (AnyFunction) canary_extend,
	[ENTRY_PREFETCH] = (AnyFunction) canary_prefetch,
	[ENTRY_READ] = (AnyFunction) canary_read,
	[ENTRY_WRITE] = (AnyFunction) canary_write,
	[ENTRY_WRITEBACK] = (AnyFunction) canary_writeback,
	[ENTRY_NBLOCKS] = (AnyFunction) canary_nblocks,
};

/*
 * Calls smgr.c's entry for a relation that cannot exist: should the canary not be reached, md finds
 * no file and raises an error or does nothing.
 */
static void
call_through_smgr(int entry)
{
	SMgrRelationData relation;
	PGAlignedBlock block;

	memset(&relation, 0, sizeof(relation));
	memset(&block, 0, sizeof(block));
	relation.smgr_rnode.backend = InvalidBackendId;

	switch (entry)
	{
		case ENTRY_CLOSE:
			smgrrelease(&relation);
			break;
		case ENTRY_CREATE:
			smgrcreate(&relation, MAIN_FORKNUM, true);
			break;
		case ENTRY_EXISTS:
			(void) smgrexists(&relation, MAIN_FORKNUM);
			break;
		case ENTRY_EXTEND:
			smgrextend(&relation, MAIN_FORKNUM, 0, block.data, true);
			break;
		case ENTRY_PREFETCH:
			(void) smgrprefetch(&relation, MAIN_FORKNUM, 0);
			break;
		case ENTRY_READ:
			smgrread(&relation, MAIN_FORKNUM, 0, block.data);
			break;
		case ENTRY_WRITE:
			smgrwrite(&relation, MAIN_FORKNUM, 0, block.data, true);
			break;
		case ENTRY_WRITEBACK:
			smgrwriteback(&relation, MAIN_FORKNUM, 0, 1);
			break;
		case ENTRY_NBLOCKS:
			(void) smgrnblocks(&relation, MAIN_FORKNUM);
			break;
	}
}

static void
check_dispatch(const AnyFunction *wanted)
{
	MemoryContext context = CurrentMemoryContext;
	int			i;

	for (i = 0; i < ENTRY_COUNT; i++)
	{
		if (wanted[i] == NULL || canaries[i] == NULL)
			continue;
		canary_reached[i] = false;
		PG_TRY();
		{
			call_through_smgr(i);
		}
		PG_CATCH();
		{
			MemoryContextSwitchTo(context);
			FlushErrorState();
		}
		PG_END_TRY();
		if (!canary_reached[i])
		{
			char		detail[128];

			snprintf(detail, sizeof(detail), "The replaced entry \"%s\" is not reached.",
					 entry_names[i]);
			refuse("its storage manager table is not used", detail);
		}
	}
}

void
zenith_smgr_install(const ZenithSmgrCallbacks *callbacks)
{
	AnyFunction wanted[ENTRY_COUNT] = {
		[ENTRY_CLOSE] = (AnyFunction) callbacks->smgr_close,
		[ENTRY_CREATE] = (AnyFunction) callbacks->smgr_create,
		[ENTRY_EXISTS] = (AnyFunction) callbacks->smgr_exists,
		[ENTRY_UNLINK] = (AnyFunction) callbacks->smgr_unlink,
		[ENTRY_EXTEND] = (AnyFunction) callbacks->smgr_extend,
		[ENTRY_PREFETCH] = (AnyFunction) callbacks->smgr_prefetch,
		[ENTRY_READ] = (AnyFunction) callbacks->smgr_read,
		[ENTRY_WRITE] = (AnyFunction) callbacks->smgr_write,
		[ENTRY_WRITEBACK] = (AnyFunction) callbacks->smgr_writeback,
		[ENTRY_NBLOCKS] = (AnyFunction) callbacks->smgr_nblocks,
		[ENTRY_TRUNCATE] = (AnyFunction) callbacks->smgr_truncate,
	};
	ProgramImage image;
	AnyFunction *table;
	int			i;

	check_version();

	memset(&image, 0, sizeof(image));
	(void) dl_iterate_phdr(inspect_program, &image);
	table = find_table(&image);
#ifdef __x86_64__
	check_no_direct_calls(&image, wanted);
#endif

	protect_table(&image, table, true);
	for (i = 0; i < ENTRY_COUNT; i++)
	{
		if (wanted[i] != NULL && canaries[i] != NULL)
			table[i] = canaries[i];
	}
	check_dispatch(wanted);
	for (i = 0; i < ENTRY_COUNT; i++)
	{
		if (wanted[i] != NULL)
			table[i] = wanted[i];
	}
	protect_table(&image, table, false);
}
