// Base URLs: taken apart once, strictly; nothing that could send a key elsewhere or in clear passes.
#include "config/url.hpp"

#include <gtest/gtest.h>

namespace keyhole::config {
namespace {

TEST(BaseUrl, IsTakenApart)
{
    provider p;
    EXPECT_EQ(set_base_url(p, "https://API.Example.com/v1/", false), "");
    EXPECT_TRUE(p.tls);
    EXPECT_EQ(p.host, "api.example.com");
    EXPECT_EQ(p.port, 443);
    EXPECT_EQ(p.base_path, "/v1");
    EXPECT_EQ(set_base_url(p, "http://[::1]:8000", false), "");
    EXPECT_EQ(p.host, "::1");
    EXPECT_EQ(p.port, 8000);
    EXPECT_EQ(p.base_path, "");
}

TEST(BaseUrl, RefusesWhatIsNoPlainAddress)
{
    provider p;
    for (const auto* url :
         {"", "example.com", "ftp://example.com", "https://", "https://user:pw@example.com",
          "https://example.com?x=1", "https://example.com#f", "https://example.com:0",
          "https://example.com:70000", "https://example.com:x", "https://exa mple.com", "https://[::1",
          "https://::1", "https://example.com/a/../b", "https://example.com/%2e", "http://example.com/v1"})
        EXPECT_NE(set_base_url(p, url, false), "") << url;
    EXPECT_EQ(set_base_url(p, "http://example.com/v1", true), "");
}

TEST(BaseUrl, EveryPresetHasOneOrMustBeConfigured)
{
    for (const auto& preset : provider_presets()) {
        const auto p = provider_of(preset);
        EXPECT_EQ(p.host.empty(), preset.base_url.empty()) << preset.name;
    }
}

}  // namespace
}  // namespace keyhole::config
