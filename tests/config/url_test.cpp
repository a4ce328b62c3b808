#include "config/url.hpp"

#include <gtest/gtest.h>

namespace keyhole::config {
namespace {

struct good_url {
    std::string_view text;
    bool tls;
    std::string_view host;
    int port;
    std::string_view path;
};

TEST(BaseUrl, ReadsWhatAnOperatorWrites)
{
    for (const good_url& g :
         {good_url{"https://api.openai.com/v1", true, "api.openai.com", 443, "/v1"},
          good_url{"https://api.openai.com", true, "api.openai.com", 443, ""},
          good_url{"https://api.openai.com/", true, "api.openai.com", 443, ""},
          good_url{"HTTPS://API.Example.com:8443/V1//", true, "api.example.com", 8443, "/V1"},
          good_url{"http://localhost", false, "localhost", 80, ""},
          good_url{"http://my_host:1/a/b.c/~d", false, "my_host", 1, "/a/b.c/~d"},
          good_url{"http://127.0.0.1:65535", false, "127.0.0.1", 65535, ""},
          good_url{"http://[::1]:8000/v1", false, "::1", 8000, "/v1"},
          good_url{"https://[2001:DB8::0:1]", true, "2001:db8::1", 443, ""},
          good_url{"https://xn--bcher-kva.example", true, "xn--bcher-kva.example", 443, ""},
          good_url{"https://1password.example", true, "1password.example", 443, ""}})
    {
        const auto parsed = parse_base_url(g.text);
        ASSERT_TRUE(std::holds_alternative<base_url>(parsed))
            << g.text << ": " << std::get<bad_text>(parsed).what;
        const base_url& url = std::get<base_url>(parsed);
        EXPECT_EQ(url.tls, g.tls) << g.text;
        EXPECT_EQ(url.host, g.host);
        EXPECT_EQ(url.port, g.port) << g.text;
        EXPECT_EQ(url.path, g.path) << g.text;
    }
}

TEST(BaseUrl, RefusesEverythingElse)
{
    using namespace std::string_view_literals;
    for (const std::string_view text : {""sv,
                                        "https"sv,
                                        "https:"sv,
                                        "https:/"sv,
                                        "https://"sv,
                                        "https:///v1"sv,
                                        "//x"sv,
                                        "api.openai.com"sv,
                                        "ftp://x"sv,
                                        "unix:/x"sv,
                                        " https://x"sv,
                                        "https://x "sv,
                                        "https://x y"sv,
                                        "https://u@x"sv,
                                        "https://u:p@x"sv,
                                        "https://x@"sv,
                                        "https://x/v1?a=1"sv,
                                        "https://x/#f"sv,
                                        "https://x?"sv,
                                        "https://x#"sv,
                                        "https://:443"sv,
                                        "https://x:"sv,
                                        "https://x:0"sv,
                                        "https://x:65536"sv,
                                        "https://x:-1"sv,
                                        "https://x:+1"sv,
                                        "https://x:1a"sv,
                                        "https://x:1:2"sv,
                                        "https://-x"sv,
                                        "https://x-"sv,
                                        "https://x."sv,
                                        "https://.x"sv,
                                        "https://a..b"sv,
                                        "https://b\xC3\xBC"
                                        "cher.example"sv,
                                        "https://[::1"sv,
                                        "https://[]"sv,
                                        "https://[::g]"sv,
                                        "https://[127.0.0.1]"sv,
                                        "https://[::1]x"sv,
                                        "https://::1"sv,
                                        "https://1.2.3"sv,
                                        "https://1.2.3.256"sv,
                                        "https://1.2.3.4.5"sv,
                                        "https://2130706433"sv,
                                        "https://x/../y"sv,
                                        "https://x/./y"sv,
                                        "https://x/a//b"sv,
                                        "https://x/a b"sv,
                                        "https://x/a%2e"sv,
                                        "https://x/a\\b"sv,
                                        "https://x/\r\nhost: y"sv,
                                        "https://x\0.example"sv,
                                        "https://x/\0"sv})
    {
        EXPECT_TRUE(std::holds_alternative<bad_text>(parse_base_url(text))) << text;
    }
    EXPECT_TRUE(
        std::holds_alternative<bad_text>(parse_base_url("https://" + std::string(64, 'a') + ".example")));
    EXPECT_TRUE(std::holds_alternative<bad_text>(parse_base_url("https://" + std::string(10'000, 'a'))));
}

TEST(BaseUrl, AnErrorRepeatsNothingOfTheText_KEY_STAYS_HOME)
{
    for (const std::string_view text : {"https://user:SECRET@x", "https://x/?key=SECRET", "SECRET",
                                        "https://SECRET!", "https://x:SECRET", "https://x/SECRET//y"})
    {
        const auto parsed = parse_base_url(text);
        ASSERT_TRUE(std::holds_alternative<bad_text>(parsed)) << text;
        const bad_text& bad = std::get<bad_text>(parsed);
        EXPECT_EQ((bad.what + bad.remedy).find("SECRET"), std::string::npos) << text;
    }
}

TEST(BaseUrl, IsTakenWholeOrNotAtAll)
{
    provider p;
    EXPECT_EQ(set_base_url(p, "https://API.Example.com/v1/", false), "");
    EXPECT_TRUE(p.tls);
    EXPECT_EQ(p.host, "api.example.com");
    EXPECT_EQ(p.port, 443);
    EXPECT_EQ(p.base_path, "/v1");
    EXPECT_EQ(set_base_url(p, "https://example.com/a/../b", false),
              "has a path with empty, . or .. segments or special characters; write it like "
              "https://api.example.com/v1");
    EXPECT_EQ(p.host, "api.example.com");
}

TEST(BaseUrl, PlainHttpToAnotherMachineHasToBeAllowed)
{
    provider p;
    EXPECT_NE(set_base_url(p, "http://example.com/v1", false), "");
    EXPECT_EQ(set_base_url(p, "http://example.com/v1", true), "");
    EXPECT_EQ(set_base_url(p, "http://[::1]:8000", false), "");
    EXPECT_EQ(p.base_path, "");
}

TEST(TcpAddress, IsNumericWithAPort)
{
    struct row {
        std::string_view text;
        std::string_view host;
        int port;
    };
    for (const row& r :
         {row{"127.0.0.1:9464", "127.0.0.1", 9464}, row{"0.0.0.0:0", "0.0.0.0", 0},
          row{"[::1]:80", "::1", 80}, row{"[::]:65535", "::", 65535}, row{"[0:0:0:0:0:0:0:1]:1", "::1", 1}})
    {
        const auto parsed = parse_tcp_address(r.text);
        ASSERT_TRUE(std::holds_alternative<tcp_address>(parsed)) << r.text;
        EXPECT_EQ(std::get<tcp_address>(parsed).host, r.host);
        EXPECT_EQ(std::get<tcp_address>(parsed).port, r.port);
    }
    for (const std::string_view text :
         {"", ":", ":80", "80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:80 ",
          "localhost:80", "*:80", "::1:80", "[::1]", "[::1]80", "[]:80", "[127.0.0.1]:80", "[::1%lo]:80",
          "1.2.3:80", "0127.0.0.1:80"})
    {
        EXPECT_TRUE(std::holds_alternative<bad_text>(parse_tcp_address(text))) << text;
    }
    EXPECT_EQ(to_string(tcp_address{"::1", 80}), "[::1]:80");
    EXPECT_EQ(to_string(tcp_address{"127.0.0.1", 0}), "127.0.0.1:0");
}

TEST(Loopback, IsWhatStaysOnThisMachine)
{
    for (const std::string_view host : {"127.0.0.1", "127.255.0.9", "::1", "localhost", "a.localhost"}) {
        EXPECT_TRUE(is_loopback(host)) << host;
    }
    for (const std::string_view host : {"", "0.0.0.0", "::", "10.0.0.1", "128.0.0.1", "127.evil.example",
                                        "127.0.0.1.example", "localhost.example", "notlocalhost", "::2"})
    {
        EXPECT_FALSE(is_loopback(host)) << host;
    }
}

}  // namespace
}  // namespace keyhole::config
