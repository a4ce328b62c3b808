#include "config/secret.hpp"
#include "tests/config/fixture.hpp"

#include <gmock/gmock.h>

#include <array>
#include <fstream>
#include <sys/stat.h>
#include <sys/wait.h>
#include <type_traits>
#include <unistd.h>

namespace keyhole::config {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(Secret, KeepsItsBytesInPagesOfItsOwn)
{
    for (const std::size_t size :
         {std::size_t{1}, std::size_t{51}, std::size_t{4096}, std::size_t{4097}, std::size_t{100'000}})
    {
        const std::string value(size, 'k');
        const secret s(value);
        EXPECT_EQ(s.reveal(), value);
        EXPECT_EQ(s.size(), size);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(s.reveal().data()) % 4096, 0U);
    }
    const secret empty("");
    EXPECT_EQ(empty.reveal(), "");
}

TEST(Secret, CannotBeCopiedComparedOrConverted_KEY_STAYS_HOME)
{
    EXPECT_FALSE(std::is_copy_constructible_v<secret>);
    EXPECT_FALSE(std::is_move_constructible_v<secret>);
    EXPECT_FALSE((std::is_convertible_v<secret, std::string_view>));
    EXPECT_FALSE((std::is_convertible_v<secret, std::string>));
    EXPECT_FALSE((std::is_convertible_v<std::string, secret>));
}

/// The VmFlags of the mapping that holds `address`.
std::string flags_of(const void* address)
{
    std::ifstream maps("/proc/self/smaps");
    char wanted[32];
    std::snprintf(wanted, sizeof wanted, "%lx-", reinterpret_cast<unsigned long>(address));
    bool here = false;
    for (std::string line; std::getline(maps, line);) {
        if (line.find('-') < line.find(' ')) here = line.starts_with(wanted);
        if (here && line.starts_with("VmFlags:")) return line + " ";
    }
    return {};
}

TEST(Secret, IsLeftOutOfCoreDumpsLockedAndWipedInChildren_KEY_STAYS_HOME)
{
    const secret s("sk-very-secret");
    const std::string flags = flags_of(s.reveal().data());
    if (flags.empty()) GTEST_SKIP() << "/proc/self/smaps does not tell mappings apart here";
    EXPECT_THAT(flags, HasSubstr(" dd "));
    EXPECT_THAT(flags, HasSubstr(" wf "));
    EXPECT_THAT(flags, Not(HasSubstr(" wr ")));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they answer mlock themselves
    if (s.locked()) {
        EXPECT_THAT(flags, HasSubstr(" lo "));
    }
#endif
    const pid_t child = ::fork();
    if (child == 0) ::_exit(s.reveal() == std::string_view("sk-very-secret") ? 1 : 0);
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0) << "a forked child still has the key";
    EXPECT_EQ(s.reveal(), "sk-very-secret");
}

TEST(Secret, WipeLeavesOnlyZeros)
{
    std::array<char, 100> bytes;
    bytes.fill('x');
    wipe(bytes.data(), bytes.size());
    EXPECT_THAT(bytes, Each(0));
}

TEST(Secret, ComparesInConstantTimeAndCorrectly)
{
    EXPECT_TRUE(equal_in_constant_time("", ""));
    EXPECT_TRUE(equal_in_constant_time("abc", "abc"));
    EXPECT_FALSE(equal_in_constant_time("abc", "abd"));
    EXPECT_FALSE(equal_in_constant_time("abc", "ab"));
    EXPECT_FALSE(equal_in_constant_time("", "a"));
    EXPECT_TRUE(equal_in_constant_time(std::string_view("a\0b", 3), std::string_view("a\0b", 3)));
    EXPECT_FALSE(equal_in_constant_time(std::string_view("a\0b", 3), std::string_view("a\0c", 3)));
}

class SecretSource : public config_fixture {
protected:
    std::string provider_with(const std::string& reference)
    {
        return "[providers.openai]\nkey = \"" + reference + "\"\n";
    }
};

TEST_F(SecretSource, ReadsAFileAndTrimsItsLastLineEnd)
{
    for (const char* end : {"", "\n", "\r\n", "\n\n"}) {
        const std::string path = write("keys/openai", std::string("sk-from-file") + end);
        const settings s = good(provider_with("file:" + path));
        EXPECT_EQ(s.providers.at(0).keys.at(0)->reveal(), "sk-from-file");
        EXPECT_THAT(s.notes, Contains("openai: key from " + path));
        EXPECT_THAT(s.notes, Not(Contains(HasSubstr("open to others"))));
    }
}

TEST_F(SecretSource, NotesAFileThatOthersCanRead)
{
    const std::string path = write("keys/openai", "sk-from-file", std::filesystem::perms{0644});
    EXPECT_THAT(good(provider_with("file:" + path)).notes,
                Contains(path + " is open to others than its owner (mode 0644): chmod 600 it"));
}

struct bad_secret {
    std::string content;
    const char* said;
};

TEST_F(SecretSource, RefusesWhatCannotBeAKey)
{
    const std::vector<bad_secret> rows{{"", "the secret is empty"},
                                       {"\n", "the secret is empty"},
                                       {"sk-a b", "white space"},
                                       {" sk-a", "white space"},
                                       {"sk-a\nsk-b\n", "white space"},
                                       {"sk-a\tb", "white space"},
                                       {std::string("sk-a\0b", 6), "control character"},
                                       {"sk-\xC3\xA9", "non-ASCII"},
                                       {"Bearer sk-a", "white space"},
                                       {"\"sk-a\"", "quotation marks"},
                                       {"'sk-a'", "quotation marks"},
                                       {"kh_0123456789", "a token of a Keyhole session"},
                                       {std::string(9000, 'k'), "larger than 8192 bytes"}};
    for (const bad_secret& row : rows) {
        const std::string path = write("keys/openai", row.content);
        EXPECT_THAT(bad(provider_with("file:" + path)), ElementsAre(HasSubstr(row.said))) << row.content;
        if (row.content.empty() || row.content.find('\0') != std::string::npos || row.content.size() > 8192)
            continue;
        environment["K"] = row.content;
        EXPECT_THAT(bad(provider_with("env:K")), ElementsAre(HasSubstr(row.said))) << row.content;
    }
}

TEST_F(SecretSource, RefusesFilesThatCannotBeReadWithoutHanging)
{
    const std::string fifo = (directory_ / "keys/fifo").string();
    ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
    EXPECT_THAT(bad(provider_with("file:" + fifo)), ElementsAre(HasSubstr("is not a regular file")));
    EXPECT_THAT(bad(provider_with("file:/no/such/file")),
                ElementsAre(HasSubstr("the secret's file /no/such/file cannot be opened: No such file")));
    EXPECT_THAT(bad(provider_with("file:" + directory_.string())),
                ElementsAre(HasSubstr("is not a regular file")));
    EXPECT_THAT(bad(provider_with("file:/dev/zero")), ElementsAre(HasSubstr("is not a regular file")));
    EXPECT_THAT(bad(provider_with("file:relative")), ElementsAre(HasSubstr("needs an absolute path")));
}

TEST_F(SecretSource, RefusesVariablesThatAreNotThere)
{
    EXPECT_THAT(bad(provider_with("env:NOT_SET")),
                ElementsAre(HasSubstr("the environment variable NOT_SET is not set, or empty")));
    EXPECT_THAT(bad(provider_with("env:")), ElementsAre(HasSubstr("names no environment variable")));
    environment["OPENAI_API_KEY_FILE"] = "/x";
    EXPECT_THAT(bad(""), ElementsAre(HasSubstr("OPENAI_API_KEY and OPENAI_API_KEY_FILE are both set")));
    environment.erase("OPENAI_API_KEY");
    environment["OPENAI_API_KEY_FILE"] = "x";
    EXPECT_THAT(bad(""), ElementsAre(HasSubstr("environment OPENAI_API_KEY_FILE: providers.openai.key: a "
                                               "secret's file needs an absolute path")));
}

TEST_F(SecretSource, NoMistakeRepeatsAByteOfASecret_KEY_STAYS_HOME)
{
    const std::string key = "sk-LEAKED_4711";
    environment["K"] = key + " " + key;
    environment["MISTRAL_API_KEY"] = "\"" + key + "\"";
    const std::string path = write("keys/k", key + "\n" + key);
    for (const std::string& toml : {provider_with(key),
                                    provider_with("env:" + key),
                                    provider_with("file:" + key),
                                    provider_with("env:K"),
                                    provider_with("file:" + path),
                                    "[providers.openai]\nkey = " + key,
                                    "[providers.openai]\nkey = '" + key,
                                    "[providers.openai]\nkey = \"" + key,
                                    "[providers.openai]\nkey = \"" + key + "\" x",
                                    "[providers.openai]\nkey = \"" + key + "\\q\"",
                                    "[providers.openai]\nkey = \"a\"\nkey = \"" + key + "\"",
                                    "[providers.openai]\nkey = [\"" + key + "\"]",
                                    "[providers.openai]\nkey.x = \"" + key + "\"",
                                    "[providers.openai]\nkeys = [\"" + key + "\"]",
                                    "[providers.openai]\nbase_url = \"https://" + key + "@x\"",
                                    "[providers.openai]\napi = \"" + key + "\"",
                                    "[providers.openai]\ncredential = \"" + key + "\"",
                                    "[log]\nlevel = \"" + key + "\"",
                                    "[agents]\ntcp = \"" + key + "\"",
                                    "[admin]\ntoken = \"" + key + "\""})
    {
        for (const std::string& line : bad(toml)) {
            EXPECT_EQ(line.find("LEAKED"), std::string::npos) << line;
        }
    }
    overrides["providers.openai.key"] = key;
    for (const std::string& line : bad("")) {
        EXPECT_EQ(line.find("LEAKED"), std::string::npos) << line;
    }
}

TEST_F(SecretSource, NoNoteRepeatsAByteOfASecret_KEY_STAYS_HOME)
{
    environment["GROQ_API_KEY_FILE"] = write("keys/groq", "gsk-LEAKED", std::filesystem::perms{0644});
    environment["OPENAI_API_KEY"] = "sk-LEAKED";
    EXPECT_THAT(good("").notes, Each(Not(HasSubstr("LEAKED"))));
}

}  // namespace
}  // namespace keyhole::config
