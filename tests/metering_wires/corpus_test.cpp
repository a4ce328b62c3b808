#include "corpus.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <sstream>

namespace {

std::filesystem::path corpus_directory()
{
    if (const char* named = std::getenv("KEYHOLE_CORPUS")) return named;
    return std::filesystem::path{KEYHOLE_SOURCE_DIR} / ".." / "shared" / "fixtures";
}

}  // namespace

// TOKENS_EXACT, over what providers really sent.
TEST(Corpus, TokensExactOnRecordedAnswersHoweverTheyAreCut)
{
    const auto directory = corpus_directory();
    if (!std::filesystem::is_directory(directory)) {
        GTEST_SKIP() << "no recordings at " << directory << " (name their directory in KEYHOLE_CORPUS)";
    }
    std::ostringstream out;
    const auto result = keyhole::metering::corpus::run_directory(directory, {.only = {}, .splits = 1}, out);
    EXPECT_EQ(result.failed, 0U) << out.str();
    EXPECT_GT(result.passed, 0U);
}
