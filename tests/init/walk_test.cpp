// The doctor's way through directories: nothing is entered twice or through a link, and what was not seen is
// said.
#include "sandbox-runtime/doctor/walk.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <unistd.h>

namespace keyhole::runtime::doctor {
namespace {

namespace fs = std::filesystem;

class Walk : public testing::Test {
protected:
    void SetUp() override
    {
        char name[] = "/tmp/kh-walk-XXXXXX";
        ASSERT_NE(::mkdtemp(name), nullptr);
        root_ = name;
    }
    void TearDown() override { fs::remove_all(root_); }

    std::string make(const std::string& path) const
    {
        fs::create_directories(fs::path(root_ + "/" + path).parent_path());
        std::ofstream(root_ + "/" + path) << "x";
        return root_ + "/" + path;
    }
    walk_result look(const std::vector<std::string>& tops, walk_bound bound = {},
                     const std::vector<std::string>& borders = {})
    {
        return walk(tops, borders, [this](const met& each) { seen_.push_back(each.path()); }, bound);
    }
    bool saw(const std::string& path) const { return std::count(seen_.begin(), seen_.end(), path) == 1; }

    std::string root_;
    std::vector<std::string> seen_;
};

TEST_F(Walk, MeetsEveryNameOnceHoweverDeep)
{
    const std::string deep = make("a/b/c/d/e");
    const std::string hidden = make(".h/.x");
    const walk_result result = look({root_});
    EXPECT_TRUE(saw(deep));
    EXPECT_TRUE(saw(hidden));
    EXPECT_EQ(result.names, seen_.size());
    EXPECT_EQ(result.names, 7U);
    EXPECT_TRUE(result.unfinished.empty());
}

TEST_F(Walk, FollowsNoLinkAndEntersNoBorder)
{
    make("real/file");
    fs::create_directory_symlink(root_, root_ + "/loop");
    make("mounted/file");
    look({root_}, {}, {root_ + "/mounted"});
    EXPECT_TRUE(saw(root_ + "/loop"));
    EXPECT_TRUE(saw(root_ + "/mounted"));
    EXPECT_FALSE(saw(root_ + "/mounted/file"));
    EXPECT_EQ(seen_.size(), 4U);
}

TEST_F(Walk, FollowsATopThatIsALink)
{
    make("real/file");
    fs::create_directory_symlink(root_ + "/real", root_ + "/top");
    look({root_ + "/top"});
    EXPECT_TRUE(saw(root_ + "/top/file"));
}

TEST_F(Walk, AtItsBoundALargeTopHidesNoOtherAndIsNamed)
{
    for (int i = 0; i < 5000; ++i)
        make("large/" + std::to_string(i));
    const std::string there = make("small/deep/socket");
    const walk_result result = look({root_ + "/large", root_ + "/small"}, {.names = 3000, .seconds = 60});
    EXPECT_TRUE(saw(there));
    EXPECT_EQ(result.names, 3000U);
    EXPECT_EQ(result.unfinished, std::vector<std::string>{root_ + "/large"});
    EXPECT_NE(result.why.find("3000"), std::string::npos) << result.why;
}

TEST_F(Walk, OfWhatTakesTooLongSaysSo)
{
    make("a/b");
    const walk_result result = look({root_}, {.names = 100, .seconds = 0});
    EXPECT_EQ(result.unfinished, std::vector<std::string>{root_});
}

TEST_F(Walk, OfPathsThatAreTooLongToOpenSaysSo)
{
    const std::string name(250, 'n');
    const fs::path before = fs::current_path();
    fs::current_path(root_);
    for (int i = 0; i < 20; ++i) {
        fs::create_directory(name);
        fs::current_path(name);
    }
    fs::current_path(before);
    EXPECT_EQ(look({root_}).unfinished, std::vector<std::string>{root_});
}

TEST_F(Walk, OfNothingIsNothing)
{
    EXPECT_TRUE(look({root_ + "/not-there"}).unfinished.empty());
    EXPECT_TRUE(look({make("file")}).unfinished.empty());
    EXPECT_TRUE(seen_.empty());
}

}  // namespace
}  // namespace keyhole::runtime::doctor
