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

    token_result take(const std::string& path)
    {
        char* none[] = {nullptr};
        return take_session_token(none, path, token_);
    }

    std::string directory_;
    sys::locked_bytes token_;
};

TEST_F(SessionToken, ComesFromTheVariableFirst)
{
    std::string entry = "SESSION_TOKEN=kh_variable";
    char* environment[] = {entry.data(), nullptr};
    EXPECT_EQ(take_session_token(environment, write("kh_from_file\n"), token_).source,
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
