#include "sandbox-runtime/doctor/report.hpp"

#include "bridge/json_text.hpp"

#include <algorithm>

namespace keyhole::runtime::doctor {
namespace {

std::string_view word_of(verdict v) noexcept
{
    switch (v) {
    case verdict::ok:
        return "ok";
    case verdict::broken:
        return "broken";
    case verdict::note:
        break;
    }
    return "note";
}

// Names of processes and mounts are the agent's to choose: nothing of them reaches a terminal as a command.
std::string printable(std::string_view text)
{
    std::string out(text);
    for (char& c : out)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
    return out;
}

void append_quoted(std::string& out, std::string_view text)
{
    out += '"';
    sys::append_json_text(out, text);
    out += '"';
}

}  // namespace

void report::ok(std::string guarantee, std::string what)
{
    findings_.push_back({std::move(guarantee), verdict::ok, std::move(what), {}});
}

void report::note(std::string guarantee, std::string what)
{
    findings_.push_back({std::move(guarantee), verdict::note, std::move(what), {}});
}

void report::broken(std::string guarantee, std::string cause, std::string remedy)
{
    findings_.push_back({std::move(guarantee), verdict::broken, std::move(cause), std::move(remedy)});
}

void report::expect(bool good, std::string guarantee, std::string if_good, std::string cause,
                    std::string remedy)
{
    if (good)
        ok(std::move(guarantee), std::move(if_good));
    else
        broken(std::move(guarantee), std::move(cause), std::move(remedy));
}

std::size_t report::broken_ones() const noexcept
{
    return static_cast<std::size_t>(std::count_if(findings_.begin(), findings_.end(),
                                                  [](const finding& f) { return f.is == verdict::broken; }));
}

std::string report::as_text() const
{
    std::string out;
    for (const finding& f : findings_) {
        out += f.is == verdict::broken ? "BROKEN  " : f.is == verdict::ok ? "ok      " : "note    ";
        out += printable(f.guarantee + ": " + f.what);
        if (!f.remedy.empty()) out += "\n        -> " + printable(f.remedy);
        out += '\n';
    }
    const std::size_t n = broken_ones();
    out += n == 0 ? "all ok: nothing leaks\n"
                  : std::to_string(n) + (n == 1 ? " guarantee is broken\n" : " guarantees are broken\n");
    return out;
}

std::string report::as_json() const
{
    std::string out = broken_ones() == 0 ? R"({"ok":true,"guarantees":[)" : R"({"ok":false,"guarantees":[)";
    for (const finding& f : findings_) {
        if (&f != &findings_.front()) out += ',';
        out += "\n{\"guarantee\":";
        append_quoted(out, f.guarantee);
        out += ",\"state\":";
        append_quoted(out, word_of(f.is));
        out += f.is == verdict::broken ? ",\"cause\":" : ",\"seen\":";
        append_quoted(out, f.what);
        if (f.is == verdict::broken) {
            out += ",\"remedy\":";
            append_quoted(out, f.remedy);
        }
        out += '}';
    }
    out += "\n]}\n";
    return out;
}

}  // namespace keyhole::runtime::doctor
