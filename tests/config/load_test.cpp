// What can be wrong in a configuration, and how it is said.
#include "tests/config/fixture.hpp"

#include <gmock/gmock.h>

namespace keyhole::config {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

class Load : public config_fixture {};

TEST_F(Load, NeedsNoFileWhenAKeyIsInTheEnvironment)
{
    const settings s = good(loaded_without_file());
    ASSERT_EQ(s.providers.size(), 1U);
    EXPECT_EQ(s.providers[0].name, "openai");
    EXPECT_EQ(s.agents.sockets, std::vector<std::string>{"/run/keyhole/llm.sock"});
    EXPECT_THAT(s.notes, Contains("openai: key from OPENAI_API_KEY"));
}

TEST_F(Load, ReadsEveryKindOfValue)
{
    const settings s = good(R"(
[server]
workers = 3
shutdown_grace = 1.5
[agents]
sockets = ["/srv/a/llm.sock", "/srv/b/llm.sock"]
socket_mode = "0666"
socket_group = "root"
tcp = ["127.0.0.1:8080", "[::1]:0"]
session_sockets = "/srv/sessions/"
[admin]
socket = "/srv/admin/admin.sock"
[metrics]
listen = "off"
[state]
directory = "/srv/state"
durability = "power"
journal_slots = 64
[ledger]
keep_days = 90
[limits]
max_body_bytes = 4_294_967_296
head_timeout = 1
[agent_gone]
policy = "cancel"
[sessions]
budget_headers = true
reserve_output_tokens = 100
[log]
level = "debug"
format = "json"
)");
    EXPECT_EQ(s.workers, 3U);
    EXPECT_EQ(s.shutdown_grace, 1.5);
    EXPECT_EQ(s.agents.sockets, (std::vector<std::string>{"/srv/a/llm.sock", "/srv/b/llm.sock"}));
    EXPECT_EQ(s.agents.socket_mode, 0666U);
    EXPECT_EQ(s.agents.socket_group, "root");
    ASSERT_EQ(s.agents.tcp.size(), 2U);
    EXPECT_EQ(s.agents.tcp[1].host, "::1");
    EXPECT_EQ(s.agents.tcp[1].port, 0);
    EXPECT_EQ(s.agents.session_sockets, "/srv/sessions");
    EXPECT_EQ(s.metrics.tcp, std::nullopt);
    EXPECT_EQ(s.store.durable, durability::power);
    EXPECT_EQ(s.store.journal_slots, 64U);
    EXPECT_EQ(s.ledger.keep_days, 90U);
    EXPECT_EQ(s.bounds.max_body_bytes, std::size_t{4294967296});
    EXPECT_EQ(s.gone.policy, agent_gone_policy::cancel);
    EXPECT_TRUE(s.sessions.budget_headers);
    EXPECT_EQ(s.sessions.reserve_output_tokens, 100);
    EXPECT_EQ(s.log.level, log_level::debug);
    EXPECT_EQ(s.log.format, log_format::json);
    EXPECT_THAT(s.notes, Contains(HasSubstr("every user of this machine")));
}

TEST_F(Load, SaysEveryMistakeAtOnceWithItsPlaceAndRemedy)
{
    EXPECT_THAT(
        bad(R"(levle = 1
[log]
level = "verbose"
formt = "json"
[server]
workers = "four"
[limit]
[state]
journal_slots = 63
)"),
        ElementsAre(
            "etc/keyhole.toml:1:1: levle: unknown key (keyhole config prints all sections)",
            "etc/keyhole.toml:3:1: log.level: not a value that it can have (one of: debug, info, "
            "warn, error)",
            "etc/keyhole.toml:4:1: log.formt: unknown key (did you mean format?)",
            "etc/keyhole.toml:6:1: server.workers: expected a whole number, got a string (write it "
            "without quotes and without a unit, like 0)",
            "etc/keyhole.toml:7:2: limit: unknown section (did you mean limits?)",
            "etc/keyhole.toml:9:1: state.journal_slots: 63 is out of range (allowed: 64 to 1048576)"));
}

struct mistake {
    std::string_view toml;
    std::string_view said;
};

TEST_F(Load, RefusesEachMistakeWithItsReason)
{
    const std::string long_path = "/" + std::string(107, 'x');
    const std::string long_socket = "[agents]\nsocket = \"" + long_path + "\"";
    const std::string long_sessions = "[agents]\nsession_sockets = \"" + long_path.substr(0, 74) + "\"";
    for (const mistake& m : {
             mistake{"level = \"info\"", "level: unknown key (it belongs in [log])"},
             mistake{"log = 1", "log: expected a section"},
             mistake{"[log]\nlevel = 1", "log.level: expected a string, got a whole number"},
             mistake{"[log]\nlevel = \"inof\"",
                     "log.level: not a value that it can have (did you mean info? one of:"},
             mistake{"[log]\nlevel = \"INFO\"", "log.level: not a value"},
             mistake{"[log]\nlevel = [\"info\"]", "got a list"},
             mistake{"[log]\nlevel = 1979-05-27", "got a date or time"},
             mistake{"[log.level]\nx = 1", "got a section"},
             mistake{"[server]\nworkers = 1.5", "expected a whole number, got a number"},
             mistake{"[server]\nworkers = -1", "server.workers: -1 is out of range (allowed: 0 to 1024)"},
             mistake{"[server]\nworkers = true", "got true or false"},
             mistake{"[server]\nworkers = 9223372036854775807", "out of range"},
             mistake{"[server]\nshutdown_grace = nan", "server.shutdown_grace: nan is out of range"},
             mistake{"[server]\nshutdown_grace = inf", "out of range"},
             mistake{"[server]\nshutdown_grace = \"30s\"", "expected a number, got a string"},
             mistake{"[limits]\nmax_body_bytes = \"64MB\"",
                     "(write it in bytes without quotes and without a unit, like 67108864)"},
             mistake{"[limits]\nmax_body_bytes = 64MB", "not valid TOML: decimal integer: "},
             mistake{"[limits]\ntimeout = 1",
                     "did you mean one of head_timeout, body_timeout, keepalive_timeout, write_timeout?"},
             mistake{"[[prices]]\nfile = \"/x\"", "prices.file: unknown key (one of: format, path)"},
             mistake{"[state]\njournal_slots = 1048577", "out of range"},
             mistake{"[state]\ndirectory = \"var\"", "state.directory: the path is not absolute"},
             mistake{"[state]\ndirectory = \"\"", "state.directory: the path is empty"},
             mistake{"[sessions]\nrefuse_unpriced = \"yes\"", "expected true or false, got a string"},
             mistake{"[sessions]\nrefuse_unpriced = 1", "expected true or false"},
             mistake{long_socket, "agents.socket: a socket's path has at most 107 bytes, this one 108"},
             mistake{long_sessions, "agents.session_sockets: has 74 bytes, at most 73 fit"},
             mistake{"[agents]\nsocket = \"/srv/x/\"", "names a directory"},
             mistake{"[agents]\nsocket = \"llm.sock\"", "not absolute"},
             mistake{"[agents]\nsockets = \"llm.sock\"", "not absolute"},
             mistake{"[agents]\nsockets = [1]", "agents.sockets: expected strings in the list, got a list"},
             mistake{"[agents]\nsockets = 1", "expected a list of strings, got a whole number"},
             mistake{"[agents]\nsockets = []", "agents have nowhere to connect"},
             mistake{"[agents]\nsocket = \"/a/s\"\nsockets = [\"/b/s\"]",
                     "agents.socket: stands beside sockets, which means the same"},
             mistake{"[agents]\nsockets = [\"/a/s\", \"/a/./s\"]", "/a/s is listened on twice"},
             mistake{"[agents]\nsocket_mode = 660", "write it in octal and in quotes"},
             mistake{"[agents]\nsocket_mode = \"0888\"", "not a file mode"},
             mistake{"[agents]\nsocket_mode = \"01777\"", "not a file mode"},
             mistake{"[agents]\nsocket_mode = \"\"", "not a file mode"},
             mistake{"[agents]\nsocket_mode = \"0060\"", "the owner must be able to read and write"},
             mistake{"[agents]\nsocket_group = \"no-such-group-here\"",
                     "agents.socket_group: there is no group of that name"},
             mistake{"[agents]\ntcp = \"localhost:80\"", "agents.tcp: is not a numeric address with a port"},
             mistake{"[agents]\ntcp = [\"127.0.0.1\"]", "not a numeric address"},
             mistake{"[agents]\ntcp = [\"127.0.0.1:9464\"]", "127.0.0.1:9464 is listened on twice"},
             mistake{"[metrics]\nlisten = \"\"", "metrics.listen: is not a numeric address"},
             mistake{"[admin]\ntcp = \"127.0.0.1:1\"",
                     "admin.tcp: a TCP listener for the admin API needs a token"},
             mistake{"[admin]\ntoken = \"hunter2\"",
                     "admin.token: a secret stands here literally (write env:NAME or file:/path"},
             mistake{"prices = 1", "prices: expected a list of sections"},
             mistake{"prices = [1]", "prices: expected a list of sections"},
             mistake{"[prices]\npath = \"/x\"", "[[prices]] with format and path"},
             mistake{"[[prices]]\nformat = \"keyhole\"", "prices.path: not given"},
             mistake{"[[prices]]\npath = \"/no/such/file\"",
                     "prices.path: there is no readable file /no/such/file"},
             mistake{"[[prices]]\npath = \"/dev/null\"\nformat = \"models_dev\"", "did you mean models.dev?"},
             mistake{"[[prices]]\npth = \"/dev/null\"", "prices.pth: unknown key (did you mean path?)"},
             mistake{"[log]\nlevel = \"info\"\nlevel = \"warn\"", "given twice"},
             mistake{"[log]\n[log]", "given twice"},
             mistake{"[log", "not valid TOML"},
             mistake{"\xC3\xA9 = 1", "etc/keyhole.toml:1:1: a character that is not ASCII"},
             mistake{"[log]\nlevel = \xC3\xA9", "etc/keyhole.toml:2:9: a character that is not ASCII"},
             mistake{"[log]\nlevel = \"info\"\xC3\xA9", "etc/keyhole.toml:2:15: a character"},
             mistake{"[log]\nlevel = \"\\\xC3\xA9\"", "etc/keyhole.toml:2:11: not valid TOML: "},
             mistake{"[log]\nlevel = \"\"\"\nx\xC3\xA9\"\"\"", "log.level: not a value"},
             // Characters that the library's tables call unreachable.
             mistake{"v = 2\"\xCE\xA2\"", "not valid TOML"},
             mistake{"v = 2[\"\xCE\xA2\"]", "not valid TOML"},
             mistake{"[=og]", "not valid TOML"},  // an assertion of the library
             mistake{"a b c", "not valid TOML"},
             mistake{"\xff\xfe", "not ASCII"},
             mistake{"# \xff\xfe", "not valid TOML"},
         })
    {
        EXPECT_THAT(bad(m.toml), Contains(HasSubstr(std::string(m.said)))) << m.toml;
    }
}

TEST_F(Load, OtherAlphabetsStandInCommentsAndStrings)
{
    const settings s = good("\xEF\xBB\xBF# gr\xC3\xBC\xC3\x9F\n[state] # \xE4\xB8\xAD\ndirectory = "
                            "\"/srv/\xC3\xA9# \\\" \xCE\xA2\" # x\n"
                            "[agents]\nsocket = '/srv/\xD0\x96/llm.sock'\n");
    EXPECT_EQ(s.store.directory, "/srv/\xC3\xA9# \" \xCE\xA2");
    EXPECT_EQ(s.agents.sockets.at(0), "/srv/\xD0\x96/llm.sock");
    overrides["state.directory"] = "/srv/\xCE\xA2";
    EXPECT_EQ(good("").store.directory, "/srv/\xCE\xA2");
}

TEST_F(Load, PlacesAParseErrorByLineAndColumn)
{
    EXPECT_THAT(bad("[log]\nlevel = = 1\n"), ElementsAre(StartsWith("etc/keyhole.toml:2:")));
}

TEST_F(Load, SaysWhyAFileCannotBeRead)
{
    EXPECT_THAT(bad(loaded_without_file((directory_ / "none.toml").string())),
                ElementsAre(StartsWith("none.toml: cannot be opened: No such file or directory (")));
    EXPECT_THAT(bad(loaded_without_file(directory_.string())),
                ElementsAre(HasSubstr("is not a regular file")));
    EXPECT_THAT(bad(std::string(2'000'000, '#')), ElementsAre(HasSubstr("is larger than 1048576 bytes")));
}

TEST_F(Load, AConfigurationWithoutAProviderSaysWhatToSet)
{
    environment.clear();
    EXPECT_THAT(bad(""), ElementsAre(AllOf(HasSubstr("there is no provider to forward to"),
                                           HasSubstr("OPENAI_API_KEY"))));
}

TEST_F(Load, NotesWhatIsAllowedButReachable)
{
    environment["T"] = "0123456789abcdef";
    const settings s = good("[agents]\ntcp=\"0.0.0.0:8080\"\n[metrics]\nlisten=\"[::]:9464\"\n[admin]\ntcp="
                            "\"10.0.0.1:1\"\ntoken=\"env:T\"");
    EXPECT_THAT(s.notes, Contains(HasSubstr("agents.tcp: 0.0.0.0:8080 can be reached from other machines")));
    EXPECT_THAT(s.notes, Contains(HasSubstr("metrics.listen: [::]:9464 can be reached")));
    EXPECT_THAT(s.notes, Contains(HasSubstr("admin.tcp: 10.0.0.1:1 can be reached")));
    EXPECT_EQ(s.admin.token->reveal(), "0123456789abcdef");
    EXPECT_THAT(s.notes, Each(Not(HasSubstr("0123456789abcdef"))));
}

TEST_F(Load, AShortAdminTokenAndAUselessOneAreSaid)
{
    environment["T"] = "short";
    EXPECT_THAT(bad("[admin]\ntcp=\"127.0.0.1:1\"\ntoken=\"env:T\""),
                ElementsAre(HasSubstr("shorter than 16 characters")));
    environment["T"] = "0123456789abcdef";
    EXPECT_THAT(good("[admin]\ntoken=\"env:T\"").notes, Contains(HasSubstr("admin.token has no effect")));
}

TEST_F(Load, PriceFilesKeepTheirOrder)
{
    const std::string a = write("etc/a.toml", "");
    const std::string b = write("etc/b.json", "");
    const settings s =
        good("[[prices]]\npath=\"" + a + "\"\n[[prices]]\nformat=\"litellm\"\npath=\"" + b + "\"");
    ASSERT_EQ(s.prices.size(), 2U);
    EXPECT_EQ(s.prices[0].path, a);
    EXPECT_EQ(s.prices[0].format, price_format::keyhole);
    EXPECT_EQ(s.prices[1].format, price_format::litellm);
}

TEST_F(Load, AProblemIsOneLineWhateverStandsInAName)
{
    EXPECT_THAT(bad("\"a\\nb\\u001b[31m\" = 1"),
                ElementsAre(AllOf(HasSubstr("a?b?[31m: unknown key"), Not(HasSubstr("\n")))));
}

TEST_F(Load, SurvivesEveryCutAndManyDamagesOfAFile)
{
    const std::string toml =
        "[log]\nlevel = "
        "\"info\"\n[providers.x]\napi=\"openai\"\nbase_url=\"https://[::1]:1/"
        "v1\"\nkeys=[\"env:OPENAI_API_KEY\"]\n"
        "[agents]\nsockets=[\"/a/s\"]\ntcp=[\"1.2.3.4:5\"]\n[[prices]]\npath=\"/dev/null\"\n";
    for (std::size_t n = 0; n < toml.size(); ++n) {
        loaded(toml.substr(0, n));
        std::string damaged = toml;
        for (const char c : std::string_view("\"[]=.\n\0\xff"
                                             "1 ",
                                             10))
        {
            damaged[n] = c;
            loaded(damaged);
        }
    }
}

}  // namespace
}  // namespace keyhole::config
