#include "sandbox-runtime/secrets.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sys/stat.h>
#include <unistd.h>

namespace keyhole::runtime {
namespace {

class Secrets : public testing::Test {
protected:
    void SetUp() override
    {
        char name[] = "/tmp/kh-secrets-XXXXXX";
        ASSERT_NE(::mkdtemp(name), nullptr);
        directory_ = name;
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }

    void write(const std::string& name, const std::string& text) const
    {
        std::ofstream(directory_ + "/" + name, std::ios::binary) << text;
        ::chmod((directory_ + "/" + name).c_str(), 0400);
    }
    std::vector<std::string> load() { return load_secrets(env_, directory_); }

    std::string directory_;
    environment env_;
};

TEST(SecretNames, BecomeVariables)
{
    EXPECT_EQ(variable_of("github-token"), "GITHUB_TOKEN");
    EXPECT_EQ(variable_of("npm.token"), "NPM_TOKEN");
    EXPECT_EQ(variable_of("A_1"), "A_1");
    for (const char* none : {"", "1st", "a b", "a=b", "\xC3\xA9", "a\nb", "a/b"})
        EXPECT_EQ(variable_of(none), "") << none;
}

TEST_F(Secrets, AreNamedAfterTheirFilesAndLoseTheirLineEnd)
{
    write("github-token", "ghp_1\n");
    write("multi", "a\nb\r\n\n");
    EXPECT_TRUE(load().empty());
    EXPECT_EQ(env_.get("GITHUB_TOKEN"), "ghp_1");
    EXPECT_EQ(env_.get("MULTI"), "a\nb\r\n") << "the last one only";
}

TEST_F(Secrets, AreNoneWhereThereIsNoDirectory)
{
    EXPECT_TRUE(load_secrets(env_, directory_ + "/nothing").empty());
    EXPECT_TRUE(env_.entries().empty());
}

TEST_F(Secrets, KeepWhatWasInjected)
{
    env_.set("TOKEN", "injected");
    write("token", "from the file");
    load();
    EXPECT_EQ(env_.get("TOKEN"), "injected");
}

TEST_F(Secrets, TOKEN_STAYS_HOME_AreNotTheSessionsNorTheOrchestrators)
{
    for (const char* name : {"session_token", "SESSION_ID", "control-plane-token", "keyhole_x"})
        write(name, "x");
    EXPECT_EQ(load().size(), 3U) << "each but the token is named";
    EXPECT_TRUE(env_.entries().empty());
}

TEST_F(Secrets, TOKEN_STAYS_HOME_ItsFilesAreFoundByNameByManifestAndByWhatTheyHold)
{
    for (const char* name : {"session-token", "SESSION_TOKEN", "session.token", "github-token"})
        write(name, "x");
    write("other", "Bearer kh_the_token\n");
    using names = std::vector<std::string>;
    EXPECT_EQ(
        find_token_files(directory_, {}),
        (names{directory_ + "/SESSION_TOKEN", directory_ + "/session-token", directory_ + "/session.token"}));
    EXPECT_EQ(find_token_files(directory_ + "/", "kh_the_token").front(), directory_ + "/SESSION_TOKEN");
    EXPECT_EQ(find_token_files(directory_, "kh_the_token")[1], directory_ + "/other");
    write("manifest", "SESSION_TOKEN\tgithub-token\n");
    EXPECT_EQ(find_token_files(directory_, {}).size(), 4U);
    EXPECT_TRUE(find_token_files(directory_ + "/nothing", "kh_the_token").empty());
}

TEST_F(Secrets, AreTakenByNameAndEachThatIsNotIsNamed)
{
    for (const char* name : {"a.b", "A_B", "a-b", ".env"})
        write(name, name);
    std::filesystem::create_directory(directory_ + "/folder");
    env_.set("SET", "before");
    write("set", "x");
    const auto complaints = load();
    EXPECT_EQ(env_.get("A_B"), "A_B");
    EXPECT_EQ(env_.get("SET"), "before");
    ASSERT_EQ(complaints.size(), 5U);
    for (const char* name : {"'a.b'", "'a-b'", "'.env'", "'folder'", "'set'"})
        EXPECT_EQ(std::count_if(
                      complaints.begin(), complaints.end(),
                      [&](const std::string& c) { return c.find("secret " + std::string(name)) != c.npos; }),
                  1)
            << name;
}

TEST_F(Secrets, BeyondTheLimitAreNamed)
{
    for (int i = 0; i < 260; ++i)
        write("s" + std::to_string(1000 + i), "x");
    const auto complaints = load();
    ASSERT_EQ(complaints.size(), 4U);
    EXPECT_NE(complaints[0].find("'s1256'"), std::string::npos) << complaints[0];
    EXPECT_EQ(env_.entries().size(), 256U);
}

TEST_F(Secrets, ThatEverybodyMayReadAreTakenWithAWarning)
{
    write("open", "x");
    ::chmod((directory_ + "/open").c_str(), 0444);
    const auto complaints = load();
    ASSERT_EQ(complaints.size(), 1U);
    EXPECT_NE(complaints[0].find("0400"), std::string::npos);
    EXPECT_EQ(env_.get("OPEN"), "x");
}

TEST_F(Secrets, DoNotRunCodeInEveryProgram)
{
    write("ld-preload", "/x.so");
    const auto complaints = load();
    ASSERT_EQ(complaints.size(), 1U);
    EXPECT_NE(complaints[0].find("KEYHOLE_KEEP_ENV"), std::string::npos);
    EXPECT_TRUE(env_.entries().empty());
}

TEST_F(Secrets, FollowTheirManifestAndNothingElse)
{
    write("manifest", "# names\nFIRST\ts-0\nSECOND\ts-1\r\n\nTHIRD\tmissing\n");
    write("s-0", "one\n");
    write("s-1", "two");
    write("s-2", "three");
    const auto complaints = load();
    EXPECT_EQ(env_.get("FIRST"), "one");
    EXPECT_EQ(env_.get("SECOND"), "two");
    EXPECT_EQ(env_.entries().size(), 2U);
    ASSERT_EQ(complaints.size(), 1U);
    EXPECT_NE(complaints[0].find("missing"), std::string::npos);
}

TEST_F(Secrets, OfAManifestStayInItsDirectory)
{
    write("manifest", "A\t../passwd\nB\t/etc/passwd\nC\t..\nno-name\ts\n\ts\nD\nE s\n");
    write("s", "x");
    EXPECT_EQ(load().size(), 7U);
    EXPECT_TRUE(env_.entries().empty());
}

TEST_F(Secrets, ThatAreNoFilesNeitherHangNorLeak)
{
    ASSERT_EQ(::mkfifo((directory_ + "/fifo").c_str(), 0600), 0);
    std::filesystem::create_symlink("/proc/self/environ", directory_ + "/environ");
    std::filesystem::create_symlink("/etc/passwd", directory_ + "/passwd");
    std::filesystem::create_symlink("loop", directory_ + "/loop");
    std::filesystem::create_symlink("/dev/zero", directory_ + "/device");
    std::filesystem::create_directory(directory_ + "/kubernetes.io");
    write("large", std::string(64 * 1024 + 1, 'x'));
    write("nul", std::string("a\0b", 3));
    write("\xFFname", "x");
    EXPECT_EQ(load().size(), 9U);
    EXPECT_TRUE(env_.entries().empty());
}

TEST_F(Secrets, MayBeLinksWithinTheirDirectory)
{
    std::filesystem::create_directory(directory_ + "/..2026");
    write("..2026/token", "from kubernetes");
    std::filesystem::create_symlink("..2026", directory_ + "/..data");
    std::filesystem::create_symlink("..data/token", directory_ + "/token");
    ::chmod((directory_ + "/..2026/token").c_str(), 0400);
    EXPECT_TRUE(load().empty());
    EXPECT_EQ(env_.get("TOKEN"), "from kubernetes");
}

TEST_F(Secrets, AreComplainedAboutInPrintableWords)
{
    write("a\x1b[2Jb\n\xff", "x");
    const auto complaints = load();
    ASSERT_EQ(complaints.size(), 1U);
    EXPECT_NE(complaints[0].find("'a?[2Jb?\?'"), std::string::npos) << complaints[0];
}

TEST_F(Secrets, ComplaintsNeverShowContent)
{
    write("bad name", "CANARY");
    write("ld-preload", "CANARY");
    write("manifest-not", std::string("CANARY\0", 7));
    for (const std::string& complaint : load())
        EXPECT_EQ(complaint.find("CANARY"), std::string::npos) << complaint;
}

}  // namespace
}  // namespace keyhole::runtime
