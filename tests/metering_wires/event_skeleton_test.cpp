// An event of a known form is reported exactly as a reader would report it, and nothing else passes for one.
#include "metering/event_skeleton.hpp"
#include "metering/sse.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace keyhole::metering {
namespace {

/// All that a sink hears, as one text. How a string was cut into pieces is no difference.
class listener final : public json_sink {
public:
    void on_begin(path_id id) override { say("begin", id); }
    void on_end(path_id id) override { say("end", id); }
    void on_document_end(bool element) override { say(element ? "element" : "document", 0); }
    void on_value_end() override { say("value", 0); }
    void on_piece(path_id id, std::string_view piece) override
    {
        if (pieces_.empty()) say("pieces", id);
        pieces_ += piece;
    }
    void on_scalar(path_id id, const json_scalar& v) override
    {
        heard += std::exchange(pieces_, {});
        say("scalar", id);
        heard += std::to_string(static_cast<int>(v.kind)) + ' ' + std::to_string(v.length) +
                 (v.truth ? " true " : " ") + std::string{v.text} + '\n';
    }
    std::string heard;

private:
    void say(std::string_view what, path_id id)
    {
        heard += what;
        heard += ' ' + std::to_string(id) + '\n';
    }
    std::string pieces_;
};

const path_tree& paths()
{
    static const path_tree tree = [] {
        path_tree t;
        t.add("id", interest::scalar);
        t.add("type", interest::scalar);
        t.add("choices[].delta.content", interest::pieces);
        t.add("choices[].delta.content", interest::measure);
        t.add("choices[].delta.content[].text", interest::pieces);
        t.add("choices[].finish_reason", interest::scalar);
        t.add("usage", interest::object);
        t.add("usage.input", interest::scalar);
        t.add("usage.output", interest::scalar);
        t.add("seal", interest::measure);
        t.add("flag", interest::scalar);
        return t;
    }();
    return tree;
}

/// Reads one event at the front of `bytes`: what a stream's meter does without forms.
struct full_reader final : sse_sink {
    full_reader() : reader{paths(), ear} {}
    std::size_t read(std::string_view bytes)
    {
        sse_splitter splitter{*this};
        return splitter.feed_event(bytes);
    }
    void on_event_data(std::string_view piece) override { reader.feed(piece); }
    void on_event_end(std::string_view name) override
    {
        reader.finish();
        named_error = name == "error";
        ended = true;
        whole = reader.idle();
    }
    listener ear;
    json_reader reader;
    bool ended = false;
    bool whole = false;
    bool named_error = false;
};

/// If `bytes` pass for an event of the form: whether all is as if it had been read.
void expect_as_if_read(const event_skeleton& form, const std::string& bytes, int& matched)
{
    event_skeleton::values open;
    const std::size_t size = form.match(bytes, open);
    if (size == 0) return;
    ++matched;
    listener ear;
    json_reader reader{paths(), ear};
    form.report(open, reader, ear);
    full_reader full;
    EXPECT_EQ(full.read(bytes), size) << bytes;
    EXPECT_TRUE(full.ended && full.whole && !full.named_error) << bytes;
    EXPECT_EQ(ear.heard, full.ear.heard) << bytes;
    EXPECT_TRUE(reader.idle());
}

bool matches(const event_skeleton& form, std::string_view bytes)
{
    event_skeleton::values open;
    return form.match(bytes, open) == bytes.size();
}

event_skeleton form_of(std::string_view event)
{
    auto form = event_skeleton::of_event(event, paths());
    EXPECT_TRUE(form) << event;
    return std::move(form.value());
}

const std::string chunk =
    R"(data: {"id":"c-1","created":17,"choices":[{"delta":{"content":" a"},"finish_reason":null}],"usage":null,"pad":"x1"})"
    "\n\n";

std::string replaced(std::string text, std::string_view what, std::string_view by)
{
    return text.replace(text.find(what), what.size(), by);
}

TEST(EventSkeleton, TextsAreOpenFromTheStart)
{
    const auto form = form_of(chunk);
    int matched = 0;
    for (const std::string_view text : {"\"\"", R"("b")", R"("a long text with spaces, {\"x\": [1]}\n")",
                                        R"("\u00e9\ud83d\ude00 \ud83d x")", "\"\xC3\xA9 \xFF\""})
        expect_as_if_read(form, replaced(chunk, "\" a\"", text), matched);
    const std::string longer(1000, 'y');
    expect_as_if_read(form, replaced(chunk, " a", longer), matched);
    EXPECT_EQ(matched, 6);
}

TEST(EventSkeleton, WhateverElseDiffersMustBeRead)
{
    const auto form = form_of(chunk);
    EXPECT_TRUE(matches(form, chunk));
    for (const auto& [what, by] : std::initializer_list<std::pair<std::string_view, std::string_view>>{
             {"c-1", "c-2"},
             {"17", "18"},
             {"\"usage\":null", R"("usage":{"input":1})"},
             {"\"finish_reason\":null", R"("finish_reason":"stop")"},
             {"\"pad\"", "\"type\""},
             {"data: ", "data:"},
             {"}\n\n", "}\n"},
             {"}\n\n", "}\ndata: x\n\n"},
             {"\" a\"", "null"},
             {"\" a\"", "\"a\n\""},
             {"\" a\"", "\"a\\\""},
             {"\" a\"", R"("\u12")"},
             {"\" a\"", "\"a\t\""}})
    {
        EXPECT_FALSE(matches(form, replaced(chunk, what, by))) << by;
    }
    for (std::size_t n = 1; n < chunk.size(); ++n)
        EXPECT_FALSE(matches(form, chunk.substr(0, n)));
}

TEST(EventSkeleton, ValuesThatDifferOnceAreOpenFromThenOn)
{
    auto form = form_of(chunk);
    EXPECT_TRUE(form.widen(form_of(replaced(replaced(chunk, "x1", "y"), "17", "1.5e3"))));
    int matched = 0;
    expect_as_if_read(form, replaced(replaced(chunk, "x1", "another"), "17", "-9"), matched);
    expect_as_if_read(form, chunk, matched);
    EXPECT_EQ(matched, 2);
    EXPECT_FALSE(matches(form, replaced(chunk, "c-1", "c-2")));
    EXPECT_FALSE(matches(form, replaced(chunk, "17", "\"17\"")));
    EXPECT_FALSE(matches(form, replaced(chunk, "17", "true")));
    EXPECT_FALSE(form.widen(form_of(replaced(chunk, "\"created\"", "\"kreated\""))));
    EXPECT_FALSE(form.widen(form_of(replaced(chunk, "17", "\"17\""))));
}

TEST(EventSkeleton, CountsThatChangeAreReportedWithTheirNewValues)
{
    const std::string usage = "data: {\"usage\":{\"input\":10,\"output\":1},\"flag\":true}\r\n\r\n";
    auto form = form_of(usage);
    EXPECT_TRUE(form.widen(form_of(replaced(usage, "1}", "2}"))));
    int matched = 0;
    expect_as_if_read(form, replaced(usage, "1}", "12345}"), matched);
    EXPECT_EQ(matched, 1);
    EXPECT_FALSE(matches(form, replaced(usage, "true", "false")));
}

TEST(EventSkeleton, AnEventOfAnotherKindTeachesNothing)
{
    const auto none = [](std::string_view event) { return !event_skeleton::of_event(event, paths()); };
    EXPECT_TRUE(none("data: [DONE]\n\n"));
    EXPECT_TRUE(none("event: error\ndata: {\"type\":\"x\"}\n\n"));
    EXPECT_TRUE(none("error: x\ndata: {\"type\":\"x\"}\n\n"));
    EXPECT_TRUE(none(": ping\n\n"));
    EXPECT_TRUE(none("\n"));
    EXPECT_TRUE(none("data: {\"type\":\ndata: 1}\n\n"));
    EXPECT_TRUE(none("data: {\"type\":\"x\"}\n"));
    EXPECT_TRUE(none("data: {\"type\":\"x\"}\r\r"));
    EXPECT_TRUE(none("data: {\"type\":\"x\"\n\n"));
    EXPECT_TRUE(none("data: {\"type\":1\"x\"}\n\n"));
    EXPECT_TRUE(none("data: {\"type\":nul}\n\n"));
    EXPECT_TRUE(none("data: {\"type\":\"x\"} {}\n\n"));
    EXPECT_TRUE(none("data: {\"type\":\"" + std::string(3000, 'x') + "\"}\n\n"));
}

/// Events with what a provider and a broken provider may put into them.
class generator {
public:
    explicit generator(unsigned seed) : random_{seed} {}

    std::string event()
    {
        const std::string end = pick({"\n", "\n", "\n", "\r\n"});
        std::string out;
        if (one_in(3)) out += "event: " + pick({"delta", "error", "content_block_delta"}) + end;
        out += pick({"data: ", "data: ", "data:"}) + "{" + fields(0) + "}" + end;
        return out + end;
    }
    /// Other values in the same places mostly; now and then another byte anywhere.
    std::string like(std::string event)
    {
        std::string out;
        for (std::size_t i = 0; i < event.size(); ++i) {
            if (event[i] == '<') {
                const std::size_t end = event.find('>', i);
                if (end == event.npos) return event;
                out += '<' + text() + '>';
                i = end;
            } else if (event[i] == '7' && one_in(2)) {
                out += pick({"7", "70", "-71", "7.5", "7e1"});
            } else {
                out += event[i];
            }
        }
        if (one_in(3))
            out[random_() % out.size()] = pick({"\"", "\\", "{", "}", ":", ",", "x", "\n", "1"})[0];
        if (one_in(8)) out.resize(random_() % out.size());
        if (one_in(4)) out += event;
        return out;
    }
    bool one_in(unsigned n) { return random_() % n == 0; }

private:
    std::string pick(std::initializer_list<const char*> of) { return of.begin()[random_() % of.size()]; }
    std::string text()
    {
        std::string out;
        for (auto n = random_() % 6; n != 0; --n)
            out += pick({"a", " word", "\\n", "\\\"", "\\\\", "\\u00e9", "\\ud83d", "\\ude00", "\xC3\xA9",
                         "{", ",", ":", "\\/"});
        return out;
    }
    std::string scalar()
    {
        return one_in(2) ? "\"<" + text() + ">\""
                         : pick({"7", "17", "null", "true", "false", "\"\"", "-0.7"});
    }
    std::string value(int depth)
    {
        if (depth > 3 || one_in(2)) return scalar();
        if (one_in(2)) return "{" + fields(depth + 1) + "}";
        std::string out = "[";
        for (auto n = random_() % 3; n != 0; --n)
            out += value(depth + 1) + (n == 1 ? "" : ",");
        return out + "]";
    }
    std::string fields(int depth)
    {
        std::string out;
        for (auto n = 1 + random_() % 4; n != 0; --n) {
            out += '"' +
                   pick({"id", "type", "choices", "delta", "content", "text", "usage", "input", "output",
                         "seal", "flag", "other", "i\\u0064"}) +
                   "\":" + pick({"", "", " "}) + value(depth) + (n == 1 ? "" : ",");
        }
        return out;
    }
    std::mt19937 random_;
};

TEST(EventSkeleton, RandomEventsAreReportedAsIfTheyWereRead)
{
    int learned = 0;
    int matched = 0;
    for (unsigned seed = 0; seed < 20'000; ++seed) {
        generator g{seed};
        const std::string first = g.event();
        auto form = event_skeleton::of_event(first, paths());
        if (!form) continue;
        ++learned;
        expect_as_if_read(*form, first, matched);
        for (int i = 0; i < 6; ++i) {
            const std::string next = g.like(first);
            expect_as_if_read(*form, next, matched);
            if (const auto more = event_skeleton::of_event(next, paths()); more && form->widen(*more)) {
                expect_as_if_read(*form, first, matched);
                expect_as_if_read(*form, next, matched);
            }
        }
        ASSERT_FALSE(HasFailure()) << "seed " << seed;
    }
    EXPECT_GT(learned, 5'000);
    EXPECT_GT(matched, 5 * learned);
}

}  // namespace
}  // namespace keyhole::metering
