// keyhole-corpus: recorded provider traffic through a running proxy. Each case is asked for by an agent on
// the proxy's socket; a provider of our own sends the recorded bytes whole, byte by byte, as they were
// recorded and cut at random; then the agent's bytes and the ledger's row are compared with what was sent and
// expected.
#include "agent.hpp"
#include "journey.hpp"
#include "proxy_process.hpp"
#include "recorded_provider.hpp"
#include "verdict.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <exception>
#include <mutex>
#include <thread>
#include <unistd.h>

namespace {

using namespace keyhole::corpus;
namespace corpus = keyhole::metering::corpus;

// No part of it stands in a recorded text by chance: parts of the key are masked in errors.
constexpr const char* key = "sk-corpus-Xq7ZrT2vWm9KpLh4NdGs6BfYc8JtQa3U";
constexpr std::size_t byte_by_byte = 32 * 1024;  // of a longer body the rest comes in pieces of 61
constexpr std::size_t makes_it = 1'000'000;      // a plan: makes the object that is retrieved

/// One way of asking for one case.
struct variant {
    std::string name;
    std::vector<std::size_t> sizes;
    bool compressed = false;
    bool inserted = false;  ///< the agent does not ask for its stream's usage
};

struct asked {
    std::size_t of_case = 0;
    std::size_t of_variant = 0;
    std::string request_id;
    std::string wrong;
    bool billed_before = false;
    bool must_have_row = true;
};

struct loaded_case {
    corpus::test_case recorded;
    std::vector<variant> variants;
};

loaded_case load(const std::filesystem::path& directory, unsigned splits)
{
    loaded_case out{corpus::load_case(directory), {}};
    const auto& c = out.recorded;
    for (auto& plan : corpus::plans_of(c, splits)) {
        if (plan.name == "bytes") {
            plan.sizes.assign(std::min(byte_by_byte, c.body.size()) + 1, 1);
            plan.sizes.push_back(61);
        }
        for (const bool compressed : {false, true}) {
            if (compressed && c.compressed.empty()) continue;
            out.variants.push_back(
                {plan.name + (compressed ? " compressed" : ""), plan.sizes, compressed, false});
        }
    }
    if (may_insert(c))
        out.variants.push_back(
            {"inserted", c.chunk_sizes.empty() ? std::vector<std::size_t>{17} : c.chunk_sizes, false, true});
    return out;
}

recorded_answer answer_of(const loaded_case& of, const variant& v)
{
    const auto& c = of.recorded;
    recorded_answer out{
        .status = c.status, .fields = {}, .body = v.compressed ? c.compressed : c.body, .sizes = v.sizes};
    if (!c.content_type.empty()) out.fields.emplace_back("content-type", c.content_type);
    if (v.compressed) out.fields.emplace_back("content-encoding", c.encoding);
    const auto count = [&](const char* name, const std::optional<std::int64_t>& value) {
        if (value) out.fields.emplace_back(name, std::to_string(*value));
    };
    count("x-amzn-bedrock-input-token-count", c.counts.input);
    count("x-amzn-bedrock-output-token-count", c.counts.output);
    count("x-amzn-bedrock-cache-read-input-token-count", c.counts.cache_read);
    count("x-amzn-bedrock-cache-write-input-token-count", c.counts.cache_write);
    if (!c.error_type.empty()) out.fields.emplace_back("x-amzn-errortype", c.error_type);
    return out;
}

struct totals {
    std::size_t passed = 0, failed = 0, ambiguous = 0, ambiguous_differ = 0, requests = 0, rows = 0;
};

/// Some cases through a proxy of their own.
class replay {
public:
    replay(std::vector<loaded_case> cases, const std::filesystem::path& program,
           std::chrono::seconds patience)
        : cases_(std::move(cases))
        , patience_(patience)
        , provider_(key, [this](std::size_t c, std::size_t v) { return sent(c, v); })
        , proxy_(program, provider_.port(), key)
    {
    }

    void run()
    {
        const unsigned agents = std::max(4U, std::thread::hardware_concurrency() * 2);
        const bool shows = ::isatty(STDERR_FILENO) != 0;
        std::vector<std::thread> threads;
        threads.reserve(agents);
        for (unsigned i = 0; i < agents; ++i)
            threads.emplace_back([this, shows] {
                for (auto at = next_++; at < cases_.size(); at = next_++) {
                    ask_for(at);
                    if (shows) std::fprintf(stderr, "\r%zu of %zu cases", ++done_, cases_.size());
                }
            });
        for (auto& t : threads)
            t.join();
        if (shows) std::fprintf(stderr, "\r\033[K");
    }

    /// Prints what differs, and adds up.
    void judge(totals& sum)
    {
        std::size_t expected_rows = makers_;
        bool all_answered = true;
        for (const auto& a : asked_) {
            if (a.must_have_row && a.request_id.empty()) all_answered = false;
            if (a.must_have_row && !a.request_id.empty()) ++expected_rows;
        }
        const auto rows = proxy_.rows(expected_rows);
        std::vector<std::string> wrong(cases_.size());
        for (auto& a : asked_) {
            const auto& c = cases_[a.of_case].recorded;
            if (a.wrong.empty() && a.must_have_row) {
                const auto row = rows.find(a.request_id);
                a.wrong =
                    row == rows.end() ? "no row in the ledger" : compare_row(c, row->second, a.billed_before);
            }
            if (a.wrong.empty() || wrong[a.of_case].find(a.wrong) != std::string::npos) continue;
            auto& text = wrong[a.of_case];
            text +=
                (text.empty() ? "" : "; ") + cases_[a.of_case].variants[a.of_variant].name + ": " + a.wrong;
        }
        for (std::size_t i = 0; i < cases_.size(); ++i) {
            const auto& c = cases_[i].recorded;
            const bool apart = c.expected.ambiguous;
            if (!wrong[i].empty())
                std::printf("%s %s [%s] %s\n", apart ? "ambiguous" : "FAILED", c.name.c_str(), c.api.c_str(),
                            wrong[i].c_str());
            if (apart) {
                ++sum.ambiguous;
                if (!wrong[i].empty()) ++sum.ambiguous_differ;
            } else
                ++(wrong[i].empty() ? sum.passed : sum.failed);
        }
        // A request that got no answer is a failure already, and may have its row or not.
        if (all_answered && rows.size() != expected_rows) {
            std::printf("FAILED: %zu requests were forwarded, the ledger has %zu rows\n", expected_rows,
                        rows.size());
            ++sum.failed;
        }
        sum.requests += asked_.size();
        sum.rows += rows.size();
    }

private:
    recorded_answer sent(std::size_t of_case, std::size_t of_variant) const
    {
        if (of_case >= cases_.size())
            return {.status = 400, .fields = {}, .body = "no such case", .sizes = {}};
        const auto& c = cases_[of_case];
        if (of_variant == makes_it)
            return {.status = 200,
                    .fields = {{"content-type", "application/json"}},
                    .body = made_[of_case],
                    .sizes = {}};
        return answer_of(c, c.variants.at(of_variant));
    }

    void ask_for(std::size_t at)
    {
        const auto& c = cases_[at].recorded;
        const bool stored = is_retrieval(c);
        if (stored) make(at);
        for (std::size_t v = 0; v < cases_[at].variants.size(); ++v) {
            const auto& how = cases_[at].variants[v];
            auto j = journey_of(c, !how.inserted);
            asked a{.of_case = at,
                    .of_variant = v,
                    .request_id = {},
                    .wrong = {},
                    .billed_before = stored && v != 0,
                    .must_have_row = true};
            if (j.path.empty()) {
                // No API that Keyhole serves: it must say so, and forward nothing.
                j.path = "/openai/v1/no/such/api";
                const auto got = ask(proxy_.socket(), proxy_.token(), j, {}, patience_);
                if (!got.problem.empty())
                    a.wrong = got.problem;
                else if (got.status != 404)
                    a.wrong = "an unknown API was answered with " + std::to_string(got.status);
                if (c.expected.present) a.wrong = "usage is expected of an API that Keyhole does not serve";
                a.must_have_row = false;
            } else {
                std::vector<std::pair<std::string, std::string>> extra{{"x-corpus-case", std::to_string(at)},
                                                                       {"x-corpus-plan", std::to_string(v)}};
                if (j.path.starts_with("/ollama")) extra.emplace_back("x-corpus-free", "1");
                const auto got = ask(proxy_.socket(), proxy_.token(), j, extra, patience_);
                a.request_id = got.request_id;
                a.wrong = compare_bytes(c, answer_of(cases_[at], how), got, how.inserted);
            }
            const std::lock_guard lock(mutex_);
            asked_.push_back(std::move(a));
        }
    }

    /// A stored answer can be retrieved by whoever made it.
    void make(std::size_t at)
    {
        const auto j = made_first(cases_[at].recorded, made_[at]);
        const auto got = ask(
            proxy_.socket(), proxy_.token(), j,
            {{"x-corpus-case", std::to_string(at)}, {"x-corpus-plan", std::to_string(makes_it)}}, patience_);
        const std::lock_guard lock(mutex_);
        if (!got.request_id.empty()) ++makers_;
    }

    std::vector<loaded_case> cases_;
    std::chrono::seconds patience_;
    std::vector<std::string> made_ = std::vector<std::string>(cases_.size());
    std::size_t makers_ = 0;
    std::mutex mutex_;
    std::vector<asked> asked_;
    std::atomic<std::size_t> next_ = 0;
    std::atomic<std::size_t> done_ = 0;
    recorded_provider provider_;
    proxy_process proxy_;
};

}  // namespace

int main(int argc, char** argv)
{
    CLI::App app{"Replays recorded provider traffic through a running proxy: the agent's bytes and the "
                 "ledger's rows must be exact.",
                 "keyhole-corpus"};
    std::string directory, only, program;
    unsigned splits = 2, patience = 60;
    app.add_option("DIR", directory,
                   "Cases: one directory each, with response.body, meta.json and expected.json")
        ->required()
        ->check(CLI::ExistingDirectory);
    app.add_option(
           "--splits", splits,
           "So many ways of cutting each answer at random, besides whole, byte by byte and as recorded")
        ->capture_default_str()
        ->check(CLI::Range(0U, 1000U));
    app.add_option("--only", only, "Only cases whose name holds this");
    app.add_option("--patience", patience, "Seconds that one request may take; longer is a failure")
        ->capture_default_str()
        ->check(CLI::Range(1U, 3600U));
    app.add_option("--keyhole", program, "The proxy to test (default: the keyhole beside this program)")
        ->check(CLI::ExistingFile);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& e) {
        return app.exit(e) == 0 ? 0 : 64;
    }
    try {
        // A line a case shows even where the end is never reached.
        std::setvbuf(stdout, nullptr, _IOLBF, 0);
        if (program.empty())
            program = (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "keyhole").string();
        totals sum;
        // A provider gives an id to one answer only, recordings whose ids were blotted out share theirs: so
        // whatever is retrieved by its id has a proxy for itself, and cases know nothing of one another.
        std::vector<std::vector<loaded_case>> rounds(1);
        for (const auto& path : corpus::cases_in(directory, only)) {
            try {
                auto c = load(path, splits);
                if (is_retrieval(c.recorded)) rounds.emplace_back();
                auto& round = is_retrieval(c.recorded) ? rounds.back() : rounds.front();
                round.push_back(std::move(c));
            } catch (const std::exception& e) {
                std::printf("FAILED %s can't be read: %s\n", path.filename().c_str(), e.what());
                ++sum.failed;
            }
        }
        if (sum.failed == 0 && rounds.size() == 1 && rounds.front().empty()) {
            std::fprintf(stderr,
                         "keyhole-corpus: no case in %s%s%s (a case is a directory with an expected.json)\n",
                         directory.c_str(), only.empty() ? "" : " has a name with ", only.c_str());
            return 64;
        }
        for (auto& round : rounds) {
            if (round.empty()) continue;
            replay all(std::move(round), program, std::chrono::seconds(patience));
            all.run();
            all.judge(sum);
        }
        std::printf("%zu requests, %zu rows", sum.requests, sum.rows);
        if (sum.ambiguous != 0)
            std::printf(
                "; ambiguous, where the provider contradicts itself: %zu as the literal rule, %zu not",
                sum.ambiguous - sum.ambiguous_differ, sum.ambiguous_differ);
        std::printf("\n%zu passed, %zu failed\n", sum.passed, sum.failed);
        return sum.failed == 0 ? 0 : 1;
    } catch (const std::exception& e) {
        std::fprintf(stderr, "keyhole-corpus: %s\n", e.what());
        return 70;
    }
}
