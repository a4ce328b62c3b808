#include "config/key_readers.hpp"

#include "config/key_makers.hpp"
#include "config/url.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <grp.h>
#include <unistd.h>

namespace keyhole::config {

using namespace making;

namespace {

std::optional<tcp_address> address_of(const node& value, const std::string& text, const std::string& key,
                                      reading& with)
{
    auto parsed = parse_tcp_address(text);
    if (const auto* bad = std::get_if<bad_text>(&parsed)) {
        with.out.refuse(value.where, key, bad->what, bad->remedy);
        return std::nullopt;
    }
    return std::get<tcp_address>(parsed);
}

void note_reachable(const tcp_address& a, const std::string& key, std::string_view consequence, reading& with)
{
    if (!is_loopback(a.host))
        with.out.note(key + ": " + to_string(a) + " can be reached from other machines; " +
                      std::string(consequence));
}

}  // namespace

void read_sockets(settings& s, const node& value, const std::string& key, reading& with)
{
    const auto items = items_of(value, key, "/run/keyhole/llm.sock", with);
    if (!items) return;
    s.agents.sockets.clear();
    for (const node* item : *items) {
        if (const auto path = socket_path(value, item->text, key, with)) s.agents.sockets.push_back(*path);
    }
}

void read_socket(settings& s, const node& value, const std::string& key, reading& with)
{
    const auto text = text_of(value, key, "/run/keyhole/llm.sock", with);
    const auto path = text ? socket_path(value, *text, key, with) : std::nullopt;
    if (path) s.agents.sockets = {*path};
}

void read_socket_mode(settings& s, const node& value, const std::string& key, reading& with)
{
    const std::string remedy = "write it in octal and in quotes, like \"0660\"";
    if (value.what != node::type::string && !value.bare)
        return refuse_type(value, key, "a string", remedy, with);
    const std::string text = value.bare && value.what != node::type::string ? *value.bare : value.text;
    unsigned mode = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
    if (ec != std::errc() || end != text.data() + text.size() || (mode & ~0777U) != 0) {
        with.out.refuse(value.where, key, "not a file mode", remedy);
    } else if ((mode & 0600) != 0600) {
        with.out.refuse(value.where, key, "the owner must be able to read and write", "0600, 0660 or 0666");
    } else {
        if ((mode & 0006) != 0)
            with.out.note(key + ": every user of this machine may connect to the agents' sockets");
        s.agents.socket_mode = mode;
    }
}

void read_socket_group(settings& s, const node& value, const std::string& key, reading& with)
{
    const auto text = text_of(value, key, "keyhole", with);
    if (!text) return;
    std::array<char, 16384> buffer;
    group entry{};
    group* found = nullptr;
    if (!text->empty() &&
        (::getgrnam_r(text->c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr))
    {
        with.out.refuse(value.where, key, "there is no group of that name",
                        "groupadd it, or leave the key out");
        return;
    }
    s.agents.socket_group = *text;
}

void read_agents_tcp(settings& s, const node& value, const std::string& key, reading& with)
{
    const auto items = items_of(value, key, "127.0.0.1:8080", with);
    if (!items) return;
    s.agents.tcp.clear();
    for (const node* item : *items) {
        const auto address = address_of(value, item->text, key, with);
        if (!address) continue;
        note_reachable(*address, key, "session tokens cross the network in clear", with);
        s.agents.tcp.push_back(*address);
    }
}

void read_hand_off_uids(settings& s, const node& value, const std::string& key, reading& with)
{
    constexpr std::int64_t largest = 4294967294;
    const std::string_view remedy = "write it like [998]; [] for none";
    const std::vector<node> one{value};
    if (value.what != node::type::list && value.what != node::type::integer)
        return refuse_type(value, key, "a list of user ids", std::string(remedy), with);
    s.agents.hand_off_uids.clear();
    for (const node& item : value.what == node::type::list ? value.list : one) {
        if (item.what != node::type::integer || item.integer < 0 || item.integer > largest) {
            with.out.refuse(value.where, key, "not a list of numeric user ids", std::string(remedy));
            return;
        }
        s.agents.hand_off_uids.push_back(static_cast<std::uint32_t>(item.integer));
    }
}

void read_admin_socket(settings& s, const node& value, const std::string& key, reading& with)
{
    const auto text = text_of(value, key, s.admin.socket, with);
    const auto path = text ? socket_path(value, *text, key, with) : std::nullopt;
    if (path) s.admin.socket = *path;
}

void read_admin_tcp(settings& s, const node& value, const std::string& key, reading& with)
{
    const auto text = text_of(value, key, "127.0.0.1:8090", with);
    s.admin.tcp = text && !text->empty() ? address_of(value, *text, key, with) : std::nullopt;
    if (s.admin.tcp) note_reachable(*s.admin.tcp, key, "the admin token crosses the network in clear", with);
}

void read_admin_token(settings& s, const node& value, const std::string& key, reading& with)
{
    constexpr std::size_t least = 16;
    s.admin.token = with.secrets.read(value, key, "admin");
    if (s.admin.token && s.admin.token->size() < least) {
        with.out.refuse(value.where, key, "the token is shorter than 16 characters",
                        "make one with: openssl rand -hex 32");
    }
}

void read_metrics_listen(settings& s, const node& value, const std::string& key, reading& with)
{
    const auto text = text_of(value, key, "127.0.0.1:9464", with);
    if (!text) return;
    s.metrics.tcp.reset();
    if (*text == "off") return;
    s.metrics.tcp = address_of(value, *text, key, with);
    if (s.metrics.tcp) note_reachable(*s.metrics.tcp, key, "metrics need no password", with);
}

void read_base_url(provider_draft& d, const node& value, const std::string& key, reading& with)
{
    const auto text = text_of(value, key, "https://api.example.com/v1", with);
    if (!text) return;
    d.base_url = *text;
    d.base_url_where = value.where;
}

void read_key(provider_draft& d, const node& value, const std::string&, reading&)
{
    d.keys = {&value};
}

void read_keys(provider_draft& d, const node& value, const std::string& key, reading& with)
{
    const auto items = items_of(value, key, "env:NAME", with);
    if (items) d.keys = *items;
    if (items && items->empty())
        with.out.refuse(value.where, key, "the list is empty", "write [\"env:NAME\"], or leave the key out");
}

void read_headers(provider_draft& d, const node& value, const std::string& key, reading& with)
{
    // A credential has keys of its own; the others are the proxy's, anew for each request.
    constexpr std::array<std::string_view, 12> taken{
        "authorization",  "x-api-key",  "api-key", "x-goog-api-key",    "proxy-authorization", "cookie",
        "content-length", "connection", "host",    "transfer-encoding", "accept-encoding",     "expect"};
    const auto items = items_of(value, key, "OpenAI-Project: proj_1", with);
    if (!items) return;
    for (const node* item : *items) {
        const std::size_t colon = item->text.find(':');
        std::string name = item->text.substr(0, colon);
        std::ranges::transform(name, name.begin(),
                               [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; });
        const auto in_name = [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
        };
        std::string text = colon == std::string::npos ? std::string() : item->text.substr(colon + 1);
        text.erase(0, std::min(text.find_first_not_of(' '), text.size()));
        text.resize(text.find_last_not_of(' ') + 1);
        const auto in_value = [](char c) { return c >= 0x20 && c < 0x7f; };
        if (name.empty() || text.empty() || !std::ranges::all_of(name, in_name) ||
            !std::ranges::all_of(text, in_value))
        {
            with.out.refuse(item->where, key, "\"" + item->text + "\" is no header",
                            "write it like \"OpenAI-Project: proj_1\"");
        } else if (std::ranges::find(taken, name) != taken.end() || name.starts_with("x-keyhole-")) {
            with.out.refuse(item->where, key, "\"" + name + "\" is not for the configuration to set",
                            "a key goes into key or keys; leave the others out");
        } else {
            d.result.headers.emplace_back(std::move(name), std::move(text));
        }
    }
}

void read_ca_file(provider_draft& d, const node& value, const std::string& key, reading& with)
{
    const auto text = text_of(value, key, "/etc/ssl/certs/my-ca.pem", with);
    if (!text || text->empty()) return;
    const auto path = path_of(value, *text, key, with);
    if (!path) return;
    if (::access(path->c_str(), R_OK) != 0) {
        with.out.refuse(value.where, key, "there is no readable file " + *path,
                        "the certificates of your CA in PEM, or leave the key out");
        return;
    }
    d.result.ca_file = *path;
}

void read_price_path(price_file& p, const node& value, const std::string& key, reading& with)
{
    const auto text = text_of(value, key, "/etc/keyhole/prices.toml", with);
    const auto path = text ? path_of(value, *text, key, with) : std::nullopt;
    if (!path) return;
    if (::access(path->c_str(), R_OK) != 0) {
        with.out.refuse(value.where, key, "there is no readable file " + *path,
                        "the path of a price file that keyhole may read");
        return;
    }
    p.path = *path;
}

}  // namespace keyhole::config
