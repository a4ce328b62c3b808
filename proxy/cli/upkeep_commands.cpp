// keyhole usage prune, keyhole usage compact: what keeps the ledger's file small.
#include "metering/journal.hpp"
#include "metering/ledger.hpp"
#include "metering/prune.hpp"
#include "metering/record.hpp"
#include "proxy/cli/admin_client.hpp"
#include "proxy/cli/commands.hpp"
#include "proxy/cli/shown.hpp"
#include "proxy/cli/table.hpp"
#include "proxy/control/fields.hpp"

#include <CLI/CLI.hpp>

#include <chrono>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

namespace keyhole::proxy::cli {
namespace {

using nlohmann::json;

/// What the journal of a directory is opened with where nothing says more; what it holds is never cut.
constexpr unsigned usual_slots = 4096;
constexpr auto between_looks = std::chrono::milliseconds(500);

struct prune_options : common_options {
    std::string before;
    std::string offline;  ///< a state directory that no keyhole runs in
    bool dry_run = false;
};

json told_of(const metering::prune_report& r, bool dry_run)
{
    return {{"before_us", r.before_us},   {"rows", r.rows},     {"pages_freed", r.pages_freed},
            {"gives_back", r.gives_back}, {"dry_run", dry_run}, {"done", r.done}};
}

json prune_here(const prune_options& o)
{
    const std::int64_t now = metering::now_us();
    const std::int64_t before = metering::prune_limit(parse_time(o.before, now), now);
    const std::string path = o.offline + "/ledger.db";
    if (!std::filesystem::exists(path))
        throw std::runtime_error(path + ": is not there (--offline takes keyhole's state.directory)");
    if (o.dry_run) return told_of(metering::would_prune(path, before), true);
    // As a start does it: what a crash left becomes rows first, else they could come back after the prune.
    // The journal's lock keeps a running keyhole out.
    metering::journal inflight(o.offline + "/inflight.journal", usual_slots, false);
    metering::ledger books(o.offline, inflight, false);
    metering::pruner work(before);
    books.run([&](metering::ledger_writer& to) { return work.slice(to); });
    return told_of(work.report(), false);
}

json prune_there(const prune_options& o)
{
    const admin_client proxy(o.admin);
    const std::string target = "/admin/v1/prune?before=" + encode(o.before) + (o.dry_run ? "&dry_run=1" : "");
    json all = proxy.post_text(target, {});
    while (!all.value("done", true)) {
        const json part = proxy.post_text(target, {});
        for (const char* sum : {"rows", "pages_freed"}) {
            all[sum] = number_of(all, sum) + number_of(part, sum);
        }
        all["gives_back"] = part.at("gives_back");
        all["done"] = part.at("done");
    }
    return all;
}

void prune(const prune_options& o)
{
    const json told = o.offline.empty() ? prune_there(o) : prune_here(o);
    if (o.as_json) return print_json(told);
    const std::string rows = grouped(number_of(told, "rows")) + " requests that ended before " +
                             shown_time(number_of(told, "before_us"));
    if (o.dry_run) return print(rows + " would be pruned; nothing was changed\n");
    std::string text = "pruned " + rows + "; their sums by day stay\n";
    if (!told.value("gives_back", false))
        text +=
            "the file keeps its size and uses the free pages again (keyhole usage compact gives them back)\n";
    print(text);
}

struct compact_options : common_options {
    bool yes = false;
};

std::string mebibytes(std::int64_t bytes)
{
    return grouped(bytes / (1 << 20)) + " MiB";
}

void compact(const compact_options& o)
{
    const admin_client proxy(o.admin);
    const json file = proxy.post_text("/admin/v1/compact?dry_run=1", {});
    const std::int64_t bytes = number_of(file, "bytes");
    const std::string cost =
        "the ledger has " + mebibytes(bytes) + ", " + mebibytes(number_of(file, "free_bytes")) +
        " of them free; writing it anew needs up to " + mebibytes(bytes - number_of(file, "free_bytes")) +
        " in the directory of temporary files and as much again in state.directory. Requests go on "
        "meanwhile, "
        "their rows wait in the journal (state.journal_slots of them; then new ones are refused).\n";
    if (!o.yes) {
        if (o.as_json) return print_json(file);
        return print(cost + "nothing was done; repeat with --yes\n");
    }
    const json begun = proxy.post_text("/admin/v1/compact", {});
    if (!begun.value("started", false)) throw std::runtime_error("a compaction is at work already");
    json ledger;
    do {
        std::this_thread::sleep_for(between_looks);
        ledger = proxy.get("/admin/v1/status").at("ledger");
    } while (text_of(ledger, "chore") == "compaction");
    const std::string error = text_of(ledger, "chore_error");
    if (!error.empty()) throw std::runtime_error("the ledger was not compacted: " + error);
    const json after = proxy.post_text("/admin/v1/compact?dry_run=1", {});
    if (o.as_json) return print_json(after);
    print("the ledger has " + mebibytes(number_of(after, "bytes")) +
          " now, and gives space back by itself\n");
}

}  // namespace

void add_upkeep_commands(CLI::App& usage, int& exit_code)
{
    auto old = std::make_shared<prune_options>();
    CLI::App* p = usage.add_subcommand("prune", "Delete single requests of old days; their daily sums stay");
    add_common(*p, *old);
    p->add_option("--before", old->before, "90d, 2026-08-01: requests that ended on earlier UTC days")
        ->required();
    p->add_flag("--dry-run", old->dry_run, "Only say how many");
    p->add_option("--offline", old->offline, "Without a running keyhole: its state.directory");
    p->callback([old, &exit_code] { report(exit_code, [&] { prune(*old); }); });

    auto anew = std::make_shared<compact_options>();
    CLI::App* c = usage.add_subcommand("compact", "Write the ledger's file anew without its free pages");
    add_common(*c, *anew);
    c->add_flag("--yes", anew->yes, "Do it; without this its cost is told");
    c->callback([anew, &exit_code] { report(exit_code, [&] { compact(*anew); }); });
}

}  // namespace keyhole::proxy::cli
