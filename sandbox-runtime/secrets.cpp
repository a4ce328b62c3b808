#include "sandbox-runtime/secrets.hpp"

#include "bridge/system.hpp"
#include "sandbox-runtime/beneath.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace keyhole::runtime {
namespace {

constexpr std::size_t most_files = 256;
constexpr std::size_t most_names = 4096;  // that are looked at, and complained about
// The kernel takes 128 KiB for one variable.
constexpr std::size_t most_bytes = 64UL * 1024;
constexpr std::string_view manifest_name = "manifest";
constexpr std::string_view token_variable = "SESSION_TOKEN";

bool is_variable_name(std::string_view name) noexcept
{
    const auto is_letter = [](char c) {
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
    };
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    return !name.empty() && name.size() <= 256 && !is_digit(name.front()) &&
           std::all_of(name.begin(), name.end(), [&](char c) { return is_letter(c) || is_digit(c); });
}

// Where the secrets pass through: locked, in no core dump, wiped.
class transit {
public:
    transit() : text_(most_bytes + 1, '\0') { ::mlock(text_.data(), text_.size()); }
    ~transit()
    {
        sys::wipe(text_.data(), text_.size());
        ::munlock(text_.data(), text_.size());
    }
    transit(const transit&) = delete;
    transit& operator=(const transit&) = delete;

    std::string_view view() const noexcept { return std::string_view(text_).substr(0, length_); }

    /// False: `why` there is no text.
    bool read(int directory, const std::string& name, std::string& why)
    {
        length_ = 0;
        const sys::unique_fd fd = open_beneath(directory, name);
        if (!fd) {
            why = errno == EXDEV || errno == ELOOP ? "is a link out of the directory; mount the file itself"
                                                   : std::string("cannot be read (") + std::strerror(errno) +
                                                         "); it must be readable for the user that PID 1 is";
            return false;
        }
        struct stat info{};
        if (::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
            why = S_ISDIR(info.st_mode) ? "is a directory; mount its files themselves" : "is no regular file";
            return false;
        }
        others_may_ = (info.st_mode & 07) != 0;
        while (length_ < text_.size()) {
            const ssize_t n = ::read(fd.get(), text_.data() + length_, text_.size() - length_);
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) break;
            length_ += static_cast<std::size_t>(n);
        }
        if (length_ > most_bytes)
            why = "is larger than 64 KiB; what large files hold cannot be a variable";
        else if (view().find('\0') != std::string_view::npos)
            why = "holds a NUL byte, which no variable can";
        if (!why.empty()) return false;
        // The one that an editor or echo put there.
        if (view().ends_with('\n')) --length_;
        if (view().ends_with('\r')) --length_;
        return true;
    }
    /// Of the file that was read last: every user of the container is let in.
    bool others_may() const noexcept { return others_may_; }

private:
    std::string text_;
    std::size_t length_ = 0;
    bool others_may_ = false;
};

// By name. Kubernetes' own (..data) are not secrets but where they are.
std::vector<std::string> names_in(int directory)
{
    std::vector<std::string> names;
    DIR* d = ::fdopendir(::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (d == nullptr) return names;
    while (const dirent* entry = ::readdir(d)) {
        const std::string_view name = entry->d_name;
        if (name != "." && !name.starts_with("..") && names.size() < most_names) names.emplace_back(name);
    }
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
        std::string_view line = text.substr(0, end);
        if (line.ends_with('\r')) line.remove_suffix(1);
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

std::string left_out(std::string_view file, std::string_view why)
{
    return "the secret '" + shown(file) + "' is left out: " + std::string(why);
}

std::vector<wanted> list_files(int directory, std::vector<std::string>& complaints)
{
    std::vector<wanted> out;
    for (const std::string& name : names_in(directory)) {
        std::string variable = variable_of(name);
        if (name.starts_with('.'))
            complaints.push_back(
                left_out(name, "its name begins with a dot; name its variable in a manifest"));
        else if (variable.empty())
            complaints.push_back(left_out(
                name, "no variable can have that name; rename it, or name its variable in a manifest"));
        else if (out.size() >= most_files)
            complaints.push_back(left_out(name, "only the first 256 are taken; say in a manifest which"));
        else
            out.push_back({std::move(variable), name});
    }
    return out;
}

// Why a secret is not to become this variable; empty: it may.
std::string objection(const environment& env, const std::vector<wanted>& taken, const wanted& each)
{
    const auto same = std::find_if(taken.begin(), taken.end(),
                                   [&](const wanted& other) { return other.variable == each.variable; });
    if (same != taken.end())
        return "'" + shown(same->file) + "' is " + each.variable + " already; rename one of them";
    if (env.is_dropped(each.variable))
        return each.variable + " is the orchestrator's own and never the agent's";
    if (env.has(each.variable)) return each.variable + " is set already";
    if (env.is_withheld(each.variable))
        return each.variable +
               " would run code in every program; put it into KEYHOLE_KEEP_ENV if it is wanted";
    return {};
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

std::vector<std::string> find_token_files(const std::string& directory, std::string_view token)
{
    std::vector<std::string> paths;
    const sys::unique_fd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return paths;
    transit text;
    std::string why;
    std::vector<std::string> unheard;
    std::vector<wanted> named;
    if (text.read(fd.get(), std::string(manifest_name), why)) named = read_manifest(text.view(), unheard);
    for (const std::string& name : names_in(fd.get())) {
        const bool by_manifest = std::any_of(named.begin(), named.end(), [&name](const wanted& each) {
            return each.variable == token_variable && each.file == name;
        });
        why.clear();
        const bool by_content = !token.empty() && text.read(fd.get(), name, why) &&
                                text.view().find(token) != std::string_view::npos;
        if (variable_of(name) == token_variable || by_manifest || by_content)
            paths.push_back((directory.ends_with('/') ? directory : directory + "/") + name);
    }
    return paths;
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
    transit text;
    std::string why;
    const bool has_manifest = ::faccessat(fd.get(), manifest_name.data(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    if (has_manifest && !text.read(fd.get(), std::string(manifest_name), why)) {
        complaints.emplace_back(directory + "/manifest " + why + "; no secret is loaded");
        return complaints;
    }
    std::vector<wanted> taken;
    std::string open_ones;
    for (const wanted& each :
         has_manifest ? read_manifest(text.view(), complaints) : list_files(fd.get(), complaints))
    {
        if (each.variable == token_variable) continue;  // find_token_files()
        why = objection(env, taken, each);
        if (!why.empty()) {
            complaints.push_back(left_out(each.file, why));
            continue;
        }
        if (!text.read(fd.get(), each.file, why)) {
            complaints.push_back("the secret '" + shown(each.file) + "' " + why);
            continue;
        }
        env.set(each.variable, text.view());
        if (text.others_may()) open_ones += (open_ones.empty() ? "'" : ", '") + shown(each.file) + "'";
        taken.push_back(each);
    }
    if (!open_ones.empty())
        complaints.push_back("every user of the container may read the secrets " + open_ones + " in " +
                             directory + "; mount them with owner 0 and mode 0400");
    return complaints;
}

}  // namespace keyhole::runtime
