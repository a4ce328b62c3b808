#include "sandbox-runtime/users.hpp"

#include "bridge/system.hpp"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

namespace keyhole::runtime {
namespace {

// name:password:uid:gid:gecos:home:shell
std::optional<account> read_line(std::string_view line)
{
    std::array<std::string_view, 7> field;
    for (std::size_t i = 0; i < field.size(); ++i) {
        const std::size_t colon = line.find(':');
        const bool last = i + 1 == field.size();
        if ((colon == std::string_view::npos) != last) return std::nullopt;
        field[i] = line.substr(0, colon);
        if (!last) line.remove_prefix(colon + 1);
    }
    const auto uid = parse_id(field[2]);
    const auto gid = parse_id(field[3]);
    if (!uid || !gid || field[0].empty()) return std::nullopt;
    return account{std::string(field[0]), *uid, *gid, std::string(field[5]), std::string(field[6])};
}

template <class Predicate>
std::optional<account> find(std::string_view passwd, Predicate matches)
{
    while (!passwd.empty()) {
        const std::size_t end = passwd.find('\n');
        if (auto found = read_line(passwd.substr(0, end)); found && matches(*found)) return found;
        if (end == std::string_view::npos) break;
        passwd.remove_prefix(end + 1);
    }
    return std::nullopt;
}

}  // namespace

std::optional<std::uint32_t> parse_id(std::string_view text) noexcept
{
    const auto number = sys::parse_number(text, UINT32_MAX - 1);
    if (!number) return std::nullopt;
    return static_cast<std::uint32_t>(*number);
}

std::optional<account> find_by_name(std::string_view passwd, std::string_view name)
{
    return find(passwd, [name](const account& a) { return a.name == name; });
}

std::optional<account> find_by_uid(std::string_view passwd, std::uint32_t uid)
{
    return find(passwd, [uid](const account& a) { return a.uid == uid; });
}

std::string read_passwd(const char* path)
{
    constexpr std::size_t most = 1'048'576;
    const sys::unique_fd fd(::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    std::string text;
    char buffer[4096];
    while (fd && text.size() < most) {
        const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        text.append(buffer, static_cast<std::size_t>(n));
    }
    return text;
}

}  // namespace keyhole::runtime
