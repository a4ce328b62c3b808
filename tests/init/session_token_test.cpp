#include "sandbox-runtime/session_token.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sys/stat.h>

namespace keyhole::runtime {
namespace {

class SessionToken : public testing::Test {
protected:
    void SetUp() override
    {
        char name[] = "/tmp/kh-token-XXXXXX";
        ASSERT_NE(::mkdtemp(name), nullptr);
        directory_ = name;
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }

    std::string write(const std::string& text) const
    {
        std::ofstream(file()) << text;
        return file();
    }
    std::string file() const { return directory_ + "/session_token"; }

    token_result take(const std::string& path, bool must_be_there = false)
    {
        char* none[] = {nullptr};
        return take_session_token(none, path, must_be_there, token_);
    }

    std::string directory_;
    sys::locked_bytes token_;
};

TEST_F(SessionToken, ComesFromTheVariableFirst)
{
    std::string entry = "SESSION_TOKEN=kh_variable";
    char* environment[] = {entry.data(), nullptr};
    EXPECT_EQ(take_session_token(environment, write("kh_from_file\n"), true, token_).source,
              token_source::variable);
    EXPECT_EQ(token_.view(), "kh_variable");
}

TEST_F(SessionToken, ComesFromAFileWithoutItsLineEnd)
{
    EXPECT_EQ(take(write("kh_from_file\r\n")).source, token_source::file);
    EXPECT_EQ(token_.view(), "kh_from_file");
}

TEST_F(SessionToken, NeedNotBeThere)
{
    const token_result result = take(file());
    EXPECT_EQ(result.source, token_source::none);
    EXPECT_TRUE(result.error.empty());
}

TEST_F(SessionToken, ThatWasNamedMustBeThere)
{
    const token_result result = take(file(), true);
    EXPECT_NE(result.error.find(file()), std::string::npos) << result.error;
    EXPECT_NE(take(directory_ + "/no/such/directory/token", true).error, "");
}

TEST_F(SessionToken, MayBeALinkWithinItsDirectory)
{
    std::filesystem::create_directory(directory_ + "/..2026");
    std::ofstream(directory_ + "/..2026/session_token") << "kh_from_kubernetes\n";
    std::filesystem::create_symlink("..2026", directory_ + "/..data");
    std::filesystem::create_symlink("..data/session_token", file());
    EXPECT_EQ(take(file()).source, token_source::file);
    EXPECT_EQ(token_.view(), "kh_from_kubernetes");
}

TEST_F(SessionToken, IsNotALinkOutOfItsDirectory)
{
    std::filesystem::create_directory(directory_ + "/inner");
    write("kh_from_outside");
    std::filesystem::create_symlink("../session_token", directory_ + "/inner/session_token");
    EXPECT_FALSE(take(directory_ + "/inner/session_token").error.empty());
    EXPECT_TRUE(token_.empty());
}

TEST_F(SessionToken, IsRefusedWhenItIsNoneAndNeverQuoted)
{
    for (const std::string& text : {std::string(), std::string("short"), std::string("with a blank"),
                                    std::string(600, 'x'), std::string(4096, 'x')})
    {
        const token_result result = take(write(text));
        EXPECT_FALSE(result.error.empty());
        EXPECT_TRUE(token_.empty());
        if (!text.empty()) {
            EXPECT_EQ(result.error.find(text), std::string::npos);
        }
    }
}

TEST_F(SessionToken, IsNotReadThroughTraps)
{
    ASSERT_EQ(::mkfifo(file().c_str(), 0600), 0);
    EXPECT_FALSE(take(file()).error.empty()) << "a FIFO must not hang the start";
    std::filesystem::remove(file());
    std::filesystem::create_symlink("/proc/self/environ", file());
    EXPECT_FALSE(take(file()).error.empty());
    std::filesystem::remove(file());
    std::filesystem::create_directory(file());
    EXPECT_FALSE(take(file()).error.empty());
    EXPECT_FALSE(take("/dev/zero").error.empty());
}

}  // namespace
}  // namespace keyhole::runtime
