#include "sandbox-runtime/account.hpp"

#include "bridge/system.hpp"
#include "sandbox-runtime/name.hpp"
#include "sandbox-runtime/privileges.hpp"

#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace keyhole::runtime {
namespace {

constexpr const char* usual_path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr const char* temporary_places[] = {"/tmp", "/dev/shm", "/run"};

bool can_write_here(const std::string& directory) noexcept
{
    struct stat info{};
    return ::stat(directory.c_str(), &info) == 0 && S_ISDIR(info.st_mode) &&
           ::access(directory.c_str(), W_OK | X_OK) == 0;
}

// Runs as the agent's user. A directory that another user made there is not taken.
bool make_home(const std::string& path, std::uint32_t uid) noexcept
{
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return false;
    struct stat info{};
    return ::lstat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == uid &&
           (info.st_mode & 077) == 0 && can_write_here(path);
}

enum class home_result : char { as_it_is, temporary, none };

struct home_answer {
    home_result result = home_result::none;
    int error = 0;          ///< why the wanted home cannot be written
    std::size_t place = 0;  ///< index of temporary_places
};

std::string temporary_home(std::size_t place, std::uint32_t uid)
{
    return std::string(temporary_places[place]) + "/home-" + std::to_string(uid);
}

home_answer look_for_home(const std::string& wanted, std::uint32_t uid) noexcept
{
    home_answer answer;
    errno = ENOTDIR;
    if (can_write_here(wanted)) return {home_result::as_it_is, 0, 0};
    answer.error = errno;
    for (std::size_t i = 0; i < std::size(temporary_places); ++i)
        if (make_home(temporary_home(i, uid), uid)) return {home_result::temporary, answer.error, i};
    return answer;
}

// Only the kernel knows what another user may do, so a child becomes the agent and tries.
home_answer look_as_agent(const settings& s, const std::string& wanted)
{
    if (s.single_uid) return look_for_home(wanted, s.agent.uid);
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return {home_result::none, errno, 0};
    const sys::unique_fd reading(ends[0]);
    sys::unique_fd writing(ends[1]);
    const pid_t pid = ::fork();
    const int no_fork = errno;
    if (pid == 0) {
        home_answer answer;
        if (drop_to({s.agent.uid, s.agent.gid, {}, true}) == nullptr)
            answer = look_for_home(wanted, s.agent.uid);
        [[maybe_unused]] const auto n = ::write(writing.get(), &answer, sizeof answer);
        ::_exit(0);
    }
    writing.reset();
    home_answer answer;
    const bool told = pid > 0 && ::read(reading.get(), &answer, sizeof answer) == sizeof answer;
    if (pid > 0) ::waitpid(pid, nullptr, 0);
    return told ? answer : home_answer{home_result::none, pid < 0 ? no_fork : EIO, 0};
}

bool is_empty(int directory) noexcept
{
    const int copy = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR* d = copy < 0 ? nullptr : ::fdopendir(copy);
    if (d == nullptr) return false;
    int entries = 0;
    while (::readdir(d) != nullptr)
        ++entries;
    ::closedir(d);
    return entries <= 2;
}

// A fresh volume or tmpfs belongs to root, a home from the image to its user. The directory itself only,
// through a descriptor that no link can redirect; what is in it keeps its owners. Needs CAP_CHOWN; without it
// nothing happens and the agent's home is a temporary one.
void give_home(const settings& s) noexcept
{
    const sys::unique_fd home(::open(s.agent.home.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    struct stat info{};
    struct stat root{};
    if (!home || ::fstat(home.get(), &info) != 0 || ::stat("/", &root) != 0 || info.st_uid == s.agent.uid ||
        (info.st_dev == root.st_dev && info.st_ino == root.st_ino))
        return;
    if (info.st_dev == root.st_dev || (info.st_uid == 0 && is_empty(home.get()))) [[maybe_unused]]
        const int done = ::fchownat(home.get(), "", s.agent.uid, s.agent.gid, AT_EMPTY_PATH);
}

// What the container says is root's when it started as root, and "/" when its user has no entry. A user that
// the image does not know may live where the image's agent would.
std::string wanted_home(const settings& s, const environment& env, const std::string& passwd)
{
    if (s.single_uid && env.has("HOME") && env.get("HOME") != "/") return std::string(env.get("HOME"));
    if (!s.agent.home.empty()) return s.agent.home;
    const auto usual = find_by_name(passwd, "agent");
    return usual ? usual->home : std::string();
}

std::string settle_home(const settings& s, const environment& env, const std::string& passwd)
{
    std::string wanted = wanted_home(s, env, passwd);
    if (s.adopt && !s.single_uid && !s.agent.home.empty()) give_home(s);
    const home_answer answer = look_as_agent(s, wanted);
    if (answer.result == home_result::as_it_is) return wanted;

    const std::string id = std::to_string(s.agent.uid);
    std::string problem = "uid " + id + " has no home in /etc/passwd";
    std::string remedy = "; -e HOME=DIRECTORY with a volume or a tmpfs there gives it one that is its own";
    if (!wanted.empty() && wanted != "/") {
        problem = "uid " + id + " cannot write its home " + wanted + " (" + reason_of(answer.error) + ")";
        remedy = "; for one that is its own add --tmpfs " + wanted + ":uid=" + id +
                 ",gid=" + std::to_string(s.agent.gid) + ", or a volume there";
    }
    if (answer.result == home_result::none) {
        sys::say({problem, ", and there is no writable /tmp to make one in", remedy});
        return wanted.empty() ? s.workdir : wanted;
    }
    std::string made = temporary_home(answer.place, s.agent.uid);
    sys::say({problem, ": HOME is ", made, remedy});
    return made;
}

}  // namespace

void settle_account(settings& s, environment& env)
{
    if (!env.has("PATH")) env.set("PATH", usual_path);
    env.remove("OLDPWD");
    env.remove("_");
    if (!s.single_uid) occupy_extra_users();
    const std::string passwd = read_passwd();
    env.set("HOME", settle_home(s, env, passwd));
    if (!find_by_uid(passwd, s.agent.uid)) s.agent.home = env.get("HOME");  // what a line for it will say
    // Root by choice (KEYHOLE_SINGLE_UID) has its line, or an image without users.
    if (s.agent.uid != 0) settle_name(s, passwd);
    if (!s.agent.name.empty()) {
        env.set("USER", s.agent.name);
        env.set("LOGNAME", s.agent.name);
    }
    if (!s.agent.shell.empty()) env.set("SHELL", s.agent.shell);
}

}  // namespace keyhole::runtime
