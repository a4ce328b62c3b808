// `keyhole run` puts a command into a sandbox: what it tells the engine, or bubblewrap.
#include "proxy/cli/child.hpp"
#include "proxy/cli/sandbox_plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <stdexcept>

namespace keyhole::proxy::cli {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::Not;

class SandboxPlan : public ::testing::Test {
protected:
    SandboxPlan()
    {
        std::string pattern = std::filesystem::temp_directory_path() / "keyhole-plan-XXXXXX";
        directory = ::mkdtemp(pattern.data());
        wish.command = {"claude", "-p", "a b; $c"};
        wish.socket_directory = "/run/keyhole-sessions/ses_1";
        wish.workspace = directory;
    }
    ~SandboxPlan() override { std::filesystem::remove_all(directory); }

    std::string directory;
    sandbox_wish wish;
};

std::vector<std::string> tail_of(const std::vector<std::string>& all, std::size_t n)
{
    return {all.end() - static_cast<std::ptrdiff_t>(n), all.end()};
}

TEST_F(SandboxPlan, ACommandsArgumentsArriveAsTheyAre)
{
    wish.engine = "docker";
    wish.image = "keyhole-sandbox";
    const std::vector<std::string> end{"keyhole-sandbox", "claude", "-p", "a b; $c"};
    EXPECT_EQ(tail_of(plan_container(wish).arguments, 4), end);
    const auto plan = plan_namespaces(wish, "/opt/keyhole");
    EXPECT_EQ(tail_of(plan.arguments, 3), wish.command);
}

TEST_F(SandboxPlan, AContainerHasNoNetworkAndNoMoreThanPid1Needs)
{
    wish.engine = "podman";
    wish.image = "i";
    const auto a = plan_container(wish).arguments;
    EXPECT_EQ(a.front(), "podman");
    EXPECT_THAT(a, IsSupersetOf(
                       {"--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges",
                        "--mount=type=bind,src=/run/keyhole-sessions/ses_1,dst=/llm-sock,readonly"}));
    EXPECT_THAT(a, Not(Contains("-t")));
    wish.terminal = true;
    EXPECT_THAT(plan_container(wish).arguments, Contains("-t"));
}

TEST_F(SandboxPlan, KEY_STAYS_HOME_NoVariableOfThisEnvironmentEntersUnasked)
{
    ::setenv("OPENAI_API_KEY", "sk-the-real-one", 1);
    wish.variables = {"ASKED=for"};
    const auto plan = plan_namespaces(wish, "/opt/keyhole");
    EXPECT_THAT(plan.environment, Contains("ASKED=for"));
    for (const auto& v : plan.environment)
        EXPECT_THAT(v, Not(HasSubstr("sk-the-real-one")));

    wish.engine = "docker";
    wish.image = "i";
    const auto contained = plan_container(wish);
    EXPECT_THAT(contained.arguments, Contains("--env=ASKED"));
    EXPECT_THAT(contained.arguments, Not(Contains("--env=OPENAI_API_KEY")));
    for (const auto* arguments : {&plan.arguments, &contained.arguments}) {
        for (const auto& word : *arguments) {
            EXPECT_THAT(word, Not(HasSubstr("=for")))
                << "arguments are for every user of the machine to read";
            EXPECT_THAT(word, Not(HasSubstr("sk-the-real-one")));
        }
    }
    ::unsetenv("OPENAI_API_KEY");
}

TEST_F(SandboxPlan, AVolumeThatIsNotThereOrHasNoTargetIsRefusedWithTheForm)
{
    for (const char* wrong :
         {"/nowhere-at-all:/x", "/tmp", "/tmp:", "/tmp:relative", "/tmp:/a:/b", "/tmp:ro"})
    {
        wish.volumes = {wrong};
        try {
            static_cast<void>(plan_namespaces(wish, "/opt/keyhole"));
            FAIL() << wrong;
        } catch (const std::runtime_error& e) {
            EXPECT_THAT(e.what(), HasSubstr("SOURCE:TARGET:ro")) << wrong;
        }
    }
    wish.volumes = {directory + ":/data:ro"};
    EXPECT_THAT(plan_namespaces(wish, "/opt/keyhole").arguments, Contains("/data"));
}

TEST_F(SandboxPlan, KEY_STAYS_HOME_AWorkspaceThatHoldsTheHostsOwnIsRefused)
{
    std::filesystem::create_directories(directory + "/a/b");
    EXPECT_THROW(static_cast<void>(checked_workspace("/", {"/run/keyhole-admin/admin.sock"})),
                 std::runtime_error);
    EXPECT_THROW(static_cast<void>(checked_workspace(directory, {directory + "/a/b"})), std::runtime_error);
    EXPECT_THROW(static_cast<void>(checked_workspace(directory + "/a/b", {directory + "/a/../a/b"})),
                 std::runtime_error);
    EXPECT_THROW(static_cast<void>(checked_workspace(directory + "/none", {})), std::runtime_error);
    std::filesystem::create_directory_symlink(directory + "/a", directory + "/link");
    EXPECT_THROW(static_cast<void>(checked_workspace(directory + "/link", {directory + "/a/b"})),
                 std::runtime_error);
    EXPECT_EQ(checked_workspace(directory + "/a/b", {directory + "/a/bc"}),
              std::filesystem::canonical(directory + "/a/b"));
}

TEST(Child, ReturnsWhatAShellWould)
{
    const std::vector<std::string> environment{"PATH=/usr/bin:/bin"};
    EXPECT_EQ(run_child({"sh", "-c", "exit 7"}, environment), 7);
    EXPECT_EQ(run_child({"sh", "-c", "kill -9 $$"}, environment), 137);
    EXPECT_EQ(run_child({"/nowhere/at-all"}, environment), 127);
    EXPECT_EQ(run_child({"/etc/passwd"}, environment), 126);
    EXPECT_EQ(run_child({"sh", "-c", "test \"$A\" = 1"}, {"A=1", "PATH=/usr/bin:/bin"}), 0);
    EXPECT_TRUE(is_in_path("sh"));
    EXPECT_FALSE(is_in_path("no-such-program-at-all"));
}

}  // namespace
}  // namespace keyhole::proxy::cli
