#include "cuts.hpp"

#include "metering/best_known.hpp"
#include "metering/estimate.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <iomanip>
#include <iterator>
#include <map>
#include <ostream>
#include <random>
#include <ranges>
#include <set>
#include <sstream>

namespace keyhole::metering::corpus {

namespace {

/// Below this many tokens a relative error says nothing.
constexpr double least_truth = 10;

meter meter_of(const test_case& c)
{
    return meter{
        c.format,
        {.status = c.status, .content_type = c.content_type, .counts = c.counts, .error_type = c.error_type}};
}

std::set<std::size_t> offsets_of(const test_case& c, const cut_options& o)
{
    std::set<std::size_t> at{0, c.body.size()};
    if (c.body.size() <= o.every_byte) {
        for (std::size_t i = 0; i < c.body.size(); ++i)
            at.insert(i);
        return at;
    }
    for (std::size_t i = 1; i < c.body.size(); ++i) {
        if (c.body[i - 1] == '\n' && (c.body[i] == '\n' || c.body[i] == '{' || c.body[i] == 'd'))
            at.insert(i);
    }
    std::mt19937_64 random{c.body.size()};
    std::uniform_int_distribution<std::size_t> any{1, c.body.size() - 1};
    for (std::size_t i = 0; i < o.offsets; ++i)
        at.insert(any(random));
    return at;
}

double error_of(double got, double truth)
{
    return std::abs(got - truth) / truth;
}

double quantile(std::vector<double>& values, double q)
{
    if (values.empty()) return -1;
    std::ranges::sort(values);
    const auto i = static_cast<std::size_t>(q * static_cast<double>(values.size()));
    return values[std::min(i, values.size() - 1)];
}

std::string read_if_there(const std::filesystem::path& path)
{
    std::ifstream in{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{in}, {}};
}

template <class... T>
std::string words(const T&... parts)
{
    std::ostringstream out;
    (out << ... << parts);
    return out.str();
}

std::string show(const token_counts& c)
{
    return words("in ", c.all_input(), " out ", c.all_output());
}

/// The drained agent: wherever it left, the row is the whole answer's.
void check_drained(const test_case& c, const reading& whole, std::size_t cut, cut_report& report)
{
    meter m = meter_of(c);
    m.feed(std::string_view{c.body}.substr(0, cut));
    m.feed(std::string_view{c.body}.substr(cut));
    const reading& r = m.finish(true);
    if (r.counts != whole.counts || r.source != whole.source || r.terminal != whole.terminal) {
        report.wrong.push_back(words(c.name, " drained after byte ", cut, ": ", show(r.counts), " (",
                                     to_string(r.source), "), whole ", show(whole.counts), " (",
                                     to_string(whole.source), ")"));
    }
}

/// What the whole answer was billed, and how that is spread over it. Nobody but the provider knows the truth
/// at a cut; these are its best models that don't use the estimate's own rules.
struct truth {
    double input = 0;
    double output = 0;
    double before_text = 0;  ///< reasoning that nobody is shown comes first
    double each_call = 0;    ///< tokens of a tool call's name and frame: what is billed beyond the text
    double text = 0;         ///< tokens of the whole text
    double bytes = 0;        ///< of the whole text, over which they are spread evenly
    double events = 0;       ///< where each token came in an event of its own, they are spread over these
};

/// As many events with text as tokens were billed: there the events that passed are no model of the truth,
/// they are the truth. One or two tokens more end the answer.
bool a_token_an_event(const written_text& t, std::int64_t billed)
{
    const auto deltas = static_cast<std::int64_t>(t.deltas);
    return t.calls == 0 && t.sealed == 0 && deltas <= billed && billed <= deltas + 2;
}

truth truth_of(const test_case& c, const written_text& whole, bool hidden)
{
    constexpr double bytes_a_token = 4;
    truth t{.input = static_cast<double>(c.expected.input),
            .output = static_cast<double>(c.expected.output),
            .bytes = static_cast<double>(whole.bytes)};
    if (hidden) t.before_text = std::min(static_cast<double>(c.expected.reasoning), t.output);
    t.text = t.output - t.before_text;
    if (whole.calls > 0) {
        const double beyond = std::clamp(t.text - t.bytes / bytes_a_token, 0.0, t.text);
        t.each_call = beyond / static_cast<double>(whole.calls);
        t.text -= beyond;
    }
    if (a_token_an_event(whole, c.expected.output)) t.events = static_cast<double>(whole.deltas);
    return t;
}

/// Of the part that passed; 0: it says nothing yet.
double true_output(const truth& t, const written_text& passed)
{
    if (passed.bytes == 0 && passed.calls == 0) return 0;
    double share = t.bytes > 0 ? static_cast<double>(passed.bytes) / t.bytes : 0;
    if (t.events > 0) share = static_cast<double>(passed.deltas) / t.events;
    return std::round(t.before_text + static_cast<double>(passed.calls) * t.each_call + t.text * share);
}

struct samples_of_case {
    std::vector<double> output;
    std::vector<double> bias;
    std::vector<double> row;
};

/// The cancelled one: the row exists, is marked unless the provider had said its last word, and is near.
void check_cancelled(const test_case& c, std::string_view request, const truth& t, std::size_t cut,
                     samples_of_case& errors, cut_report& report)
{
    meter m = meter_of(c);
    m.feed(std::string_view{c.body}.substr(0, cut));
    const reading& r = m.finish(false);
    const best_known k = best_known_usage(
        r, {.format = c.format, .streamed = true, .complete = false, .request_body = request});
    const token_counts& n = k.counts;
    if (std::min({n.input, n.cache_read, n.output, n.output_reasoning, n.all_output()}) < 0)
        report.wrong.push_back(words(c.name, " cancelled after byte ", cut, ": negative"));
    if (k.source == usage_source::none && !r.terminal)
        report.wrong.push_back(words(c.name, " cancelled after byte ", cut, ": unmarked"));
    if (k.source == usage_source::provider && !r.terminal)
        report.wrong.push_back(words(c.name, " cancelled after byte ", cut, ": passed off as final"));
    if (r.terminal) return;
    const double billed = true_output(t, r.text);
    if (billed < least_truth) return;
    const auto said = static_cast<double>(n.all_output());
    errors.bias.push_back((said - billed) / billed);
    errors.output.push_back(error_of(said, billed));
    if (!request.empty() || r.source != usage_source::none)
        errors.row.push_back(error_of(static_cast<double>(n.total()), t.input + billed));
}

/// The same half on every machine.
unsigned half_of(std::string_view name)
{
    std::uint32_t h = 2166136261U;
    for (const char c : name)
        h = (h ^ static_cast<unsigned char>(c)) * 16777619U;
    return h >> 16U & 1U;
}

void print_features(const test_case& c, const reading& r, std::string_view request, std::ostream& out)
{
    out << words(c.name, '\t', to_string(c.format), '\t', c.expected.input, '\t', c.expected.output, '\t',
                 c.expected.reasoning, '\t', r.text.bytes, '\t', r.text.deltas, '\t', r.text.millitokens,
                 '\t', r.text.calls, '\t', r.text.sealed, '\t', r.text.sealed_bytes, '\t',
                 estimate_input(c.format, request), '\t', half_of(c.name), '\n');
}

void run_one(const std::filesystem::path& directory, const cut_options& o, cut_report& report,
             std::ostream& out)
{
    const test_case c = load_case(directory);
    if (c.format == wire::none || c.status >= 400 || c.expected.complete < 0) return;
    const std::string request = read_if_there(directory / "request.json");
    meter at_once = meter_of(c);
    at_once.feed(c.body);
    const reading whole = at_once.finish(true);
    if (o.features) {
        if (c.expected.present && !c.expected.ambiguous) print_features(c, whole, request, out);
        return;
    }

    cut_case seen{.name = c.name, .format = c.format, .half = half_of(c.name)};
    const bool usable =
        c.expected.present && !c.expected.ambiguous && !c.expected.error && c.expected.output > 0;
    truth t;
    if (usable) {
        seen.hidden =
            static_cast<double>(c.expected.reasoning) * 1000 > static_cast<double>(whole.text.millitokens);
        t = truth_of(c, whole.text, seen.hidden);
        const auto estimate = static_cast<double>(estimate_output(c.format, whole.text, true));
        if (t.output >= least_truth) seen.whole = error_of(estimate, t.output);
        if (!request.empty() && t.input >= least_truth)
            seen.input = error_of(static_cast<double>(estimate_input(c.format, request)), t.input);
    }
    samples_of_case errors;
    for (const std::size_t cut : offsets_of(c, o)) {
        check_drained(c, whole, cut, report);
        check_cancelled(c, request, t, cut, errors, report);
        ++seen.cuts;
    }
    seen.at_cuts = quantile(errors.output, 0.5);
    seen.each = std::move(errors.output);
    seen.bias = quantile(errors.bias, 0.5);
    seen.row = quantile(errors.row, 0.5);
    report.cuts += seen.cuts;
    report.cases.push_back(std::move(seen));
}

using picked = std::function<double(const cut_case&)>;

std::vector<double> values(const cut_report& r, const picked& pick,
                           const std::function<bool(const cut_case&)>& of)
{
    std::vector<double> out;
    for (const cut_case& c : r.cases) {
        if (of(c) && pick(c) >= 0) out.push_back(pick(c));
    }
    return out;
}

void print_line(std::string_view what, std::vector<double> v, std::ostream& out)
{
    if (v.empty()) return;
    out << "  " << std::left << std::setw(34) << what << std::right << std::setw(5) << v.size() << " values"
        << std::fixed << std::setprecision(1);
    for (const double q : {0.1, 0.5, 0.9})
        out << "  p" << std::setw(2) << static_cast<int>(100 * q) << std::setw(7) << 100 * quantile(v, q)
            << " %";
    out << "  max" << std::setw(8) << 100 * quantile(v, 1) << " %\n";
}

void print_table(std::string_view title, const cut_report& r, const picked& pick, std::ostream& out)
{
    out << title << '\n';
    std::set<wire> wires;
    for (const cut_case& c : r.cases)
        wires.insert(c.format);
    for (const wire w : wires)
        print_line(to_string(w), values(r, pick, [w](const cut_case& c) { return c.format == w; }), out);
    print_line("all", values(r, pick, [](const cut_case&) { return true; }), out);
    print_line("all that show what they bill", values(r, pick, [](const cut_case& c) { return !c.hidden; }),
               out);
    print_line("- one half, by a hash of the name",
               values(r, pick, [](const cut_case& c) { return !c.hidden && c.half == 0; }), out);
    print_line("- the other half",
               values(r, pick, [](const cut_case& c) { return !c.hidden && c.half == 1; }), out);
    print_line("most reasoning not shown", values(r, pick, [](const cut_case& c) { return c.hidden; }), out);
}

}  // namespace

cut_report run_cuts(const std::filesystem::path& directory, const cut_options& o, std::ostream& out)
{
    std::vector<std::filesystem::path> cases;
    for (const auto& entry : std::filesystem::directory_iterator{directory}) {
        if (entry.is_directory() && std::filesystem::exists(entry.path() / "expected.json") &&
            entry.path().filename().string().find(o.only) != std::string::npos)
        {
            cases.push_back(entry.path());
        }
    }
    std::ranges::sort(cases);
    cut_report report;
    for (const auto& path : cases)
        run_one(path, o, report, out);
    return report;
}

namespace {

std::vector<double> all_cuts(const cut_report& r, const std::function<bool(const cut_case&)>& of)
{
    std::vector<double> out;
    for (const cut_case& c : r.cases) {
        if (of(c)) out.insert(out.end(), c.each.begin(), c.each.end());
    }
    return out;
}

bool shows_what_it_bills(const cut_case& c)
{
    return !c.hidden;
}

}  // namespace

double median_of_cases(const cut_report& r)
{
    auto v = values(r, &cut_case::at_cuts, shows_what_it_bills);
    return quantile(v, 0.5);
}

void print_cases(const cut_report& r, std::ostream& out)
{
    for (const cut_case& c : r.cases) {
        if (c.at_cuts < 0) continue;
        out << std::fixed << std::setprecision(1) << std::setw(7) << 100 * c.at_cuts << " % " << std::setw(7)
            << 100 * c.bias << " % " << to_string(c.format) << ' ' << c.name << (c.hidden ? " (hidden)" : "")
            << '\n';
    }
}

void print(const cut_report& r, std::ostream& out)
{
    out << "output at every cut (relative error against what had been billed by then)\n";
    print_line("all", all_cuts(r, [](const cut_case&) { return true; }), out);
    print_line("all that show what they bill", all_cuts(r, shows_what_it_bills), out);
    print_line("- one half, by a hash of the name",
               all_cuts(r, [](const cut_case& c) { return !c.hidden && c.half == 0; }), out);
    print_line("- the other half", all_cuts(r, [](const cut_case& c) { return !c.hidden && c.half == 1; }),
               out);
    print_table("output, a case's median cut", r, &cut_case::at_cuts, out);
    print_table("input and output of the row, cut anywhere", r, &cut_case::row, out);
    print_table("output, the complete text, its usage ignored", r, &cut_case::whole, out);
    print_table("input, from the request's bytes alone", r, &cut_case::input, out);
    for (const std::string& w : r.wrong)
        out << "WRONG " << w << '\n';
    const double median = median_of_cases(r);
    out << "median over the cases that show what they bill: " << std::fixed << std::setprecision(1)
        << 100 * median << " % (wanted: 10 %" << (median <= 0.10 ? ", met" : ", missed") << ")\n";
    out << r.cases.size() << " streams cut " << r.cuts << " times: " << r.wrong.size() << " wrong\n";
}

}  // namespace keyhole::metering::corpus
