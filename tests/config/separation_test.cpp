#include "tests/config/fixture.hpp"

#include <gmock/gmock.h>

namespace keyhole::config {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Separation : public config_fixture {
protected:
    std::string at(const std::string& name) { return (directory_ / name).string(); }
};

TEST_F(Separation, TheDefaultsKeepTheirDistance_NO_WAY_AROUND)
{
    good(loaded_without_file());
    good("");
}

TEST_F(Separation, NothingStandsInOrBelowWhatASandboxMounts_NO_WAY_AROUND)
{
    const std::string key = write("keys/openai", "sk-file");
    struct row {
        std::string toml;
        const char* said;
    };
    for (const row& r : {
             row{"[agents]\nsocket=\"" + at("etc/llm.sock") + "\"",
                 "the agents' sockets and the configuration file share the directory"},
             row{"[agents]\nsocket=\"" + at("llm.sock") + "\"",
                 "the agents' sockets, which sandboxes mount, holds that of the configuration file"},
             row{"[agents]\nsocket=\"/run/x/llm.sock\"\nsession_sockets=\"/run/x/sessions\"",
                 "the agents' sockets, which sandboxes mount, holds that of the sessions' own sockets"},
             row{"[agents]\nsession_sockets=\"/run/keyhole\"",
                 "the sessions' own sockets and the agents' sockets share"},
             row{"[agents]\nsession_sockets=\"/run\"",
                 "the sessions' own sockets, which sandboxes mount, holds that of the agents' sockets"},
             row{"[admin]\nsocket=\"/run/keyhole/admin.sock\"",
                 "admin.socket: the admin socket and the agents' sockets share the directory"},
             row{"[admin]\nsocket=\"/run/keyhole/admin/admin.sock\"",
                 "which sandboxes mount, holds that of the admin socket"},
             row{"[state]\ndirectory=\"/run/keyhole\"",
                 "state.directory: the state and the agents' sockets share"},
             row{"[state]\ndirectory=\"/run/keyhole/../keyhole/state\"", "holds that of the state"},
             row{"[agents]\nsocket=\"" + at("keys/llm.sock") + "\"\n[providers.openai]\nkey=\"file:" + key +
                     "\"",
                 "the secret's file"},
             row{"[agents]\nsocket=\"/llm.sock\"", "which sandboxes mount, holds that of"},
         })
    {
        EXPECT_THAT(bad(r.toml), Contains(HasSubstr(r.said))) << r.toml;
    }
}

TEST_F(Separation, KeysConfigurationAndStateEachHaveADirectory_KEY_STAYS_HOME)
{
    const std::string beside = write("etc/openai", "sk-file");
    EXPECT_THAT(bad("[providers.openai]\nkey=\"file:" + beside + "\""),
                ElementsAre(HasSubstr("and the configuration file share the directory")));
    EXPECT_THAT(bad("[state]\ndirectory=\"" + at("etc") + "\""),
                ElementsAre(HasSubstr("state.directory: the state and the configuration file share")));
    const std::string below = write("etc/keys/openai", "sk-file");
    good("[providers.openai]\nkey=\"file:" + below + "\"");
}

TEST_F(Separation, SeesThroughSymbolicLinks)
{
    std::filesystem::create_directory_symlink(directory_ / "etc", directory_ / "run");
    EXPECT_THAT(bad("[agents]\nsocket=\"" + at("run/llm.sock") + "\""),
                Contains(HasSubstr("share the directory")));
}

TEST_F(Separation, SecretsMayShareADirectoryAndSocketsMayToo)
{
    const std::string a = write("keys/a", "sk-a");
    const std::string b = write("keys/b", "sk-b");
    good("[agents]\nsockets=[\"/run/keyhole/a.sock\",\"/run/keyhole/"
         "b.sock\"]\n[providers.openai]\nkeys=[\"file:" +
         a + "\",\"file:" + b + "\"]");
}

}  // namespace
}  // namespace keyhole::config
