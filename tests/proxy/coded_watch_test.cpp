// KEY_STAYS_HOME where bytes cannot be masked: a compressed answer that holds the key is stopped before the
// bytes that complete it leave, however they are cut.
#include "proxy/upstream/coded_watch.hpp"

#include <gtest/gtest.h>

#include <string>
#include <zlib.h>

namespace keyhole::proxy::upstream {
namespace {

const std::string key = "sk-proj-CANARYa1b2c3d4e5f6g7h8i9j0WXYZ";
using verdict = coded_watch::verdict;

std::string gzip(const std::string& text, int flush)
{
    z_stream z{};
    EXPECT_EQ(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    std::string out(text.size() + 4096, '\0');
    z.next_out = reinterpret_cast<Bytef*>(out.data());
    z.avail_out = static_cast<uInt>(out.size());
    // A provider that streams flushes each event.
    for (std::size_t at = 0; at < text.size(); at += 7) {
        const auto piece = text.substr(at, 7);
        std::string copy = piece;
        z.next_in = reinterpret_cast<Bytef*>(copy.data());
        z.avail_in = static_cast<uInt>(copy.size());
        EXPECT_EQ(deflate(&z, flush), Z_OK);
    }
    EXPECT_EQ(deflate(&z, Z_FINISH), Z_STREAM_END);
    out.resize(z.total_out);
    deflateEnd(&z);
    return out;
}

std::string gunzip_what_there_is(const std::string& coded)
{
    struct text_sink final : metering::decoded_sink {
        std::string text;
        void on_decoded(std::string_view bytes) override { text += bytes; }
    } sink;
    bool known = false;
    metering::content_decoder::make("gzip", known)->feed(coded, sink);
    return sink.text;
}

/// What the agent would have when the watch stops the answer (or all of it).
std::string let_through(const std::string& coded, std::size_t piece, bool& stopped)
{
    coded_watch watch("gzip", key);
    std::string out;
    std::string held;
    stopped = false;
    for (std::size_t at = 0; at < coded.size() && !stopped; at += piece) {
        held += coded.substr(at, piece);
        switch (watch.look(std::string_view(coded).substr(at, piece), at + piece >= coded.size())) {
        case verdict::clear:
            out += held;
            held.clear();
            break;
        case verdict::unsure:
            break;
        case verdict::key_found:
            stopped = true;
        }
    }
    return out;
}

TEST(CodedWatch, KEY_STAYS_HOME_StopsACompressedAnswerBeforeTheKeyIsWhole)
{
    for (const int flush : {Z_NO_FLUSH, Z_SYNC_FLUSH}) {
        const auto coded = gzip("data: {\"echo\":\"" + key + "\"}\n\ndata: more of it\n\n", flush);
        for (std::size_t piece = 1; piece <= coded.size(); ++piece) {
            bool stopped = false;
            const auto seen = gunzip_what_there_is(let_through(coded, piece, stopped));
            ASSERT_TRUE(stopped) << "in pieces of " << piece;
            ASSERT_EQ(seen.find(key.substr(0, 10)), std::string::npos)
                << "in pieces of " << piece << ": " << seen;
        }
    }
}

TEST(CodedWatch, BYTES_UNTOUCHED_LetsEverythingElsePass)
{
    // Ends like keys begin, and has the prefix that all of them share.
    const auto coded = gzip("data: sk-proj-CANARY-but-not-that-one, sk-proj-\n\n", Z_SYNC_FLUSH);
    for (std::size_t piece = 1; piece <= coded.size(); ++piece) {
        bool stopped = true;
        ASSERT_EQ(let_through(coded, piece, stopped), coded);
        ASSERT_FALSE(stopped);
    }
}

TEST(CodedWatch, SaysWhenItCannotReadACoding)
{
    EXPECT_FALSE(coded_watch("compress", key).knows_coding());
    EXPECT_TRUE(coded_watch("br", key).knows_coding());
    EXPECT_EQ(coded_watch("gzip", key).look("no gzip at all", false), verdict::clear);
}

}  // namespace
}  // namespace keyhole::proxy::upstream
