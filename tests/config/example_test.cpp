// What is printed as documentation is what the loader knows.
#include "config/schema.hpp"
#include "tests/config/fixture.hpp"

#include <gmock/gmock.h>

#include <map>
#include <sstream>

namespace keyhole::config {
namespace {

using ::testing::HasSubstr;

class Example : public config_fixture {};

/// The values that the configuration sets, in an order of its own, for comparison.
std::vector<std::string> values(const settings& s)
{
    std::vector<std::string> out;
    const auto add = [&out](const auto& value) {
        std::ostringstream text;
        text << value;
        out.push_back(text.str());
    };
    add(s.workers), add(s.shutdown_grace);
    for (const auto& socket : s.agents.sockets) {
        add(socket);
    }
    add(s.agents.socket_mode), add(s.agents.socket_group), add(s.agents.tcp.size()),
        add(s.agents.session_sockets), add(s.agents.hand_off_uids.size());
    add(s.admin.socket), add(s.admin.tcp.has_value()), add(s.admin.token != nullptr);
    add(s.metrics.tcp ? s.metrics.tcp->host : "off"), add(s.metrics.tcp ? s.metrics.tcp->port : 0);
    add(s.store.directory), add(static_cast<int>(s.store.durable)), add(s.store.journal_slots);
    add(s.ledger.keep_days);
    add(s.bounds.max_head_bytes), add(s.bounds.max_body_bytes), add(s.bounds.head_timeout),
        add(s.bounds.body_timeout);
    add(s.bounds.keepalive_timeout), add(s.bounds.max_connections), add(s.bounds.max_connections_per_session),
        add(s.bounds.write_timeout);
    add(static_cast<int>(s.gone.policy)), add(s.gone.drain_seconds), add(s.gone.drain_bytes),
        add(s.gone.max_drains);
    add(s.sessions.ttl), add(s.sessions.refuse_unpriced), add(s.sessions.unbounded_batches),
        add(s.sessions.budget_headers), add(s.sessions.reserve_output_tokens);
    add(s.prices.size()), add(static_cast<int>(s.log.level)), add(static_cast<int>(s.log.format));
    for (const provider& p : s.providers) {
        add(p.name), add(to_string(p.api)), add(to_string(p.credential)), add(p.tls), add(p.host),
            add(p.port), add(p.base_path);
        add(p.keys.size()), add(p.headers.size()), add(p.ca_file), add(p.connect_timeout),
            add(p.first_byte_timeout), add(p.idle_timeout);
        add(p.max_idle_connections), add(p.keepalive);
    }
    return out;
}

std::string uncommented(const std::string& toml)
{
    std::istringstream in(toml);
    std::string out;
    for (std::string line; std::getline(in, line);) {
        out += (line.size() > 1 && line[0] == '#' && line[1] != ' ' ? line.substr(1) : line) + "\n";
    }
    return out;
}

TEST_F(Example, LoadsAsTheDefaults)
{
    EXPECT_EQ(values(good(example_toml())), values(good(loaded_without_file())));
}

TEST_F(Example, EveryDefaultOfTheStructsIsTheLoadersDefault)
{
    settings expected;
    expected.providers = good(loaded_without_file()).providers;
    EXPECT_EQ(values(good(loaded_without_file())), values(expected));
}

TEST_F(Example, LoadsWithEveryExampleUncommented)
{
    environment["ADMIN_TOKEN"] = "0123456789abcdef";
    std::string toml = uncommented(example_toml());
    const std::string prices = "/etc/keyhole/prices.toml";
    ASSERT_NE(toml.find(prices), std::string::npos);
    toml.replace(toml.find(prices), prices.size(), "/dev/null");
    const settings s = good(toml);
    EXPECT_TRUE(s.admin.token);
    ASSERT_EQ(s.providers.size(), 2U);
    EXPECT_EQ(s.providers[1].name, "my-vllm");
    // The section that is printed for it changes nothing of the preset.
    settings one = s;
    one.providers.resize(1);
    settings preset = good(loaded_without_file());
    settings with_preset = s;
    with_preset.providers = preset.providers;
    EXPECT_EQ(values(one), values(with_preset));
}

TEST_F(Example, NamesEveryKeyThatTheLoaderKnows)
{
    const std::string toml = example_toml();
    const auto named = [&](std::string_view name) {
        return toml.find("\n" + std::string(name) + " = ") != std::string::npos ||
               toml.find("#" + std::string(name) + " = ") != std::string::npos ||
               toml.find("# " + std::string(name) + " = ") != std::string::npos;
    };
    for (const section_spec& section : sections()) {
        EXPECT_THAT(toml, HasSubstr("\n[" + std::string(section.name) + "]\n"));
        for (const auto& key : section.keys) {
            EXPECT_TRUE(named(key.name)) << key.name;
        }
    }
    for (const auto& key : provider_keys()) {
        EXPECT_TRUE(named(key.name)) << key.name;
    }
    for (const auto& key : price_keys()) {
        EXPECT_TRUE(named(key.name)) << key.name;
    }
    for (const provider_preset& p : provider_presets()) {
        EXPECT_THAT(toml, HasSubstr(std::string(p.name) + ": "));
    }
}

/// The manual's tables: under each heading "## `[SECTION]`" the rows, cell by cell.
std::map<std::string, std::map<std::string, std::vector<std::string>>> manual_tables()
{
    std::ifstream file(std::string(KEYHOLE_SOURCE_DIR) + "/docs/configuration.md");
    std::map<std::string, std::map<std::string, std::vector<std::string>>> tables;
    std::string section;
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with("## ")) section = line.substr(3);
        if (!line.starts_with("| `")) continue;
        std::vector<std::string> cells;
        for (std::size_t at = 2; at < line.size();) {
            const std::size_t end = line.find(" |", at);
            cells.push_back(line.substr(at, end - at));
            at = end == std::string::npos ? end : end + 3;
        }
        tables[section][cells.at(0)] = cells;
    }
    return tables;
}

std::string code(std::string_view text)
{
    return "`" + std::string(text) + "`";
}

/// What stands between the back-ticks of a cell.
std::string bare(const std::string& cell)
{
    return cell.size() < 2 ? std::string() : cell.substr(1, cell.size() - 2);
}

class Manual : public config_fixture {
protected:
    Manual()
    {
        environment["ANTHROPIC_API_KEY"] = "sk-ant-0123456789";
        environment["OPENAI_KEY_1"] = "sk-0123456789-1";
        environment["ADMIN_TOKEN"] = "0123456789abcdef";
        environment["KEYHOLE_ADMIN_TOKEN"] = "0123456789abcdef";
        certificates_ = write("ca/ca.pem", "");
        prices_ = write("prices/prices.toml", "");
    }

    template <class Spec>
    void compare(const std::string& heading, const std::string& prefix, const std::vector<Spec>& keys)
    {
        auto rows = manual_tables()[heading];
        EXPECT_EQ(rows.size(), keys.size()) << heading << " has a row for each key and no other";
        for (const auto& key : keys) {
            const auto& cells = rows[code(key.name)];
            ASSERT_EQ(cells.size(), 5U)
                << heading << ": " << key.name << " has a row | key | type | default | example | meaning |";
            EXPECT_EQ(cells[1], key.type) << heading << ": " << key.name;
            EXPECT_EQ(cells[2], key.has_default ? code(key.sample) : std::string())
                << heading << ": " << key.name;
            EXPECT_FALSE(cells[4].empty()) << heading << ": " << key.name;
            if (!prefix.empty()) accepts(prefix + std::string(key.name), bare(cells[3]));
        }
    }

    /// An example is what an operator copies.
    void accepts(const std::string& key, std::string example)
    {
        if (key.ends_with(".ca_file")) example = certificates_;
        overrides = {{key, example}};
        const auto result = loaded("");
        if (const auto* problems = std::get_if<std::vector<problem>>(&result))
            ADD_FAILURE() << key << " = " << example << "\n" << all(*problems);
        overrides.clear();
    }

    std::string certificates_;
    std::string prices_;
};

TEST_F(Manual, HasEveryKeyWithItsTypeItsDefaultAndAnExampleThatLoads)
{
    for (const section_spec& section : sections()) {
        compare("`[" + std::string(section.name) + "]`", std::string(section.name) + ".", section.keys);
    }
    compare("`[providers.NAME]`", "providers.openai.", provider_keys());
    compare("`[[prices]]`", "", price_keys());
    const auto prices = manual_tables()["`[[prices]]`"];
    overrides = {
        {"prices", "[{ format = " + bare(prices.at("`format`")[3]) + ", path = \"" + prices_ + "\" }]"}};
    EXPECT_EQ(good("").prices.size(), 1U);
}

TEST_F(Manual, HasEveryKnownProviderWithItsVariableAndItsAddress)
{
    auto rows = manual_tables()["Providers"];
    EXPECT_EQ(rows.size(), provider_presets().size());
    for (const provider_preset& p : provider_presets()) {
        const auto& cells = rows[code(p.name)];
        ASSERT_EQ(cells.size(), 4U) << p.name << " has a row | name | variable | address | API |";
        EXPECT_EQ(cells[1], p.key_env.empty() ? "none" : code(p.key_env)) << p.name;
        EXPECT_EQ(cells[2], p.base_url.empty() ? "`base_url` must be set" : code(p.base_url)) << p.name;
        EXPECT_EQ(cells[3], to_string(p.api)) << p.name;
    }
}

TEST_F(Example, IsPlainTextOfModestWidth)
{
    std::istringstream in(example_toml());
    for (std::string line; std::getline(in, line);) {
        EXPECT_LE(line.size(), 130U) << line;
        for (const char c : line) {
            EXPECT_TRUE(c >= 0x20 && c < 0x7f) << line;
        }
    }
}

}  // namespace
}  // namespace keyhole::config
