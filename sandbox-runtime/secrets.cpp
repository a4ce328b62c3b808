#include "sandbox-runtime/secrets.hpp"

#include "bridge/system.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace keyhole::runtime {
namespace {

constexpr std::size_t most_files = 256;
// The kernel takes 128 KiB for one variable.
constexpr std::size_t most_bytes = 64UL * 1024;
constexpr std::string_view manifest_name = "manifest";

bool is_variable_name(std::string_view name) noexcept
{
    const auto is_letter = [](char c) {
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
    };
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    return !name.empty() && name.size() <= 256 && !is_digit(name.front()) &&
           std::all_of(name.begin(), name.end(), [&](char c) { return is_letter(c) || is_digit(c); });
}

// Kubernetes makes each secret a link to ..data/NAME, so links are followed, but never out of the directory
// and never through /proc.
sys::unique_fd open_inside(int directory, const std::string& name) noexcept
{
    constexpr int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;  // a FIFO must not hang the start
    open_how how{};
    how.flags = flags;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
    sys::unique_fd fd(static_cast<int>(::syscall(SYS_openat2, directory, name.c_str(), &how, sizeof how)));
    if (fd || (errno != ENOSYS && errno != EPERM)) return fd;
    return sys::unique_fd(::openat(directory, name.c_str(), flags | O_NOFOLLOW));
}

// The text, or why there is none.
bool read_secret(int directory, const std::string& name, std::string& text, std::string& why)
{
    const sys::unique_fd fd = open_inside(directory, name);
    if (!fd) {
        why = errno == EXDEV || errno == ELOOP ? "is a link out of the directory; mount the file itself"
                                               : std::string("cannot be read (") + std::strerror(errno) +
                                                     "); it must be readable for the user that PID 1 is";
        return false;
    }
    struct stat info{};
    if (::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
        why = "is no regular file";
        return false;
    }
    text.assign(most_bytes + 1, '\0');
    std::size_t length = 0;
    while (length < text.size()) {
        const ssize_t n = ::read(fd.get(), text.data() + length, text.size() - length);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        length += static_cast<std::size_t>(n);
    }
    text.resize(length);
    if (length > most_bytes)
        why = "is larger than 64 KiB; what large files hold cannot be a variable";
    else if (text.find('\0') != std::string::npos)
        why = "holds a NUL byte, which no variable can";
    if (!why.empty()) return false;
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r'))
        text.pop_back();
    return true;
}

std::vector<std::string> names_in(int directory)
{
    std::vector<std::string> names;
    DIR* d = ::fdopendir(::dup(directory));
    if (d == nullptr) return names;
    while (const dirent* entry = ::readdir(d))
        if (entry->d_name[0] != '.' && names.size() < most_files) names.emplace_back(entry->d_name);
    ::closedir(d);
    std::sort(names.begin(), names.end());
    return names;
}

// Its name is whoever mounted it's to choose; a log is no place for control characters.
std::string shown(std::string_view name)
{
    std::string out(name.substr(0, 64));
    for (char& c : out)
        if (c < 0x20 || c > 0x7E) c = '?';
    return out;
}

struct wanted {
    std::string variable;
    std::string file;
};

// Lines VARIABLE<TAB>FILE.
std::vector<wanted> read_manifest(std::string_view text, std::vector<std::string>& complaints)
{
    std::vector<wanted> out;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        const std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (line.empty() || line.front() == '#') continue;
        const std::size_t tab = line.find('\t');
        const std::string_view name = line.substr(0, tab);
        const std::string_view file =
            tab == std::string_view::npos ? std::string_view{} : line.substr(tab + 1);
        const bool plain =
            !file.empty() && file.find('/') == std::string_view::npos && file != "." && file != "..";
        if (is_variable_name(name) && plain && out.size() < most_files)
            out.push_back({std::string(name), std::string(file)});
        else
            complaints.emplace_back(
                "a line of the manifest is not VARIABLE<TAB>FILE with a file of that directory");
    }
    return out;
}

bool is_directory_at(int directory, const std::string& name) noexcept
{
    struct stat info{};
    return ::fstatat(directory, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(info.st_mode);
}

std::vector<wanted> list_files(int directory, std::vector<std::string>& complaints)
{
    std::vector<wanted> out;
    for (const std::string& name : names_in(directory)) {
        // kubernetes.io/serviceaccount and its like.
        if (is_directory_at(directory, name)) continue;
        std::string variable = variable_of(name);
        if (variable.empty())
            complaints.emplace_back("the secret '" + shown(name) +
                                    "' is left out: no variable can have that name; rename it, or name its "
                                    "variable in a manifest");
        else
            out.push_back({std::move(variable), name});
    }
    return out;
}

}  // namespace

std::string variable_of(std::string_view file_name)
{
    std::string name(file_name);
    for (char& c : name) {
        if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
        if (c == '-' || c == '.') c = '_';
    }
    return is_variable_name(name) ? name : std::string();
}

std::vector<std::string> load_secrets(environment& env, const std::string& directory)
{
    std::vector<std::string> complaints;
    const sys::unique_fd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) {
        if (errno != ENOENT && errno != ENOTDIR)
            complaints.emplace_back(directory + " cannot be read: " + std::strerror(errno));
        return complaints;
    }
    std::string text;
    std::string why;
    const bool has_manifest = ::faccessat(fd.get(), manifest_name.data(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    if (has_manifest && !read_secret(fd.get(), std::string(manifest_name), text, why)) {
        complaints.emplace_back(directory + "/manifest " + why + "; no secret is loaded");
        return complaints;
    }
    for (const wanted& each :
         has_manifest ? read_manifest(text, complaints) : list_files(fd.get(), complaints))
    {
        // The session's token and the orchestrator's own are not for the agent; what is injected stays.
        if (env.is_dropped(each.variable) || env.has(each.variable)) continue;
        if (env.is_withheld(each.variable)) {
            complaints.emplace_back(
                "the secret '" + shown(each.file) + "' is left out: " + each.variable +
                " would run code in every program; put it into KEYHOLE_KEEP_ENV if it is wanted");
            continue;
        }
        why.clear();
        if (read_secret(fd.get(), each.file, text, why))
            env.set(each.variable, text);
        else
            complaints.emplace_back("the secret '" + shown(each.file) + "' " + why);
        sys::wipe(text.data(), text.size());
    }
    return complaints;
}

}  // namespace keyhole::runtime
