#include "proxy/server.hpp"

#include "metering/journal.hpp"
#include "metering/ledger.hpp"
#include "metering/metrics.hpp"
#include "metering/reprice.hpp"
#include "proxy/control/admin.hpp"
#include "proxy/control/strangers.hpp"
#include "proxy/listener.hpp"
#include "proxy/resident.hpp"
#include "proxy/runtime.hpp"
#include "proxy/session_store.hpp"
#include "proxy/worker.hpp"

#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <future>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <thread>
#include <variant>
#include <vector>

namespace keyhole::proxy {
namespace {

void make_directory(const std::string& path, mode_t mode)
{
    std::error_code ec;
    if (std::filesystem::is_directory(path, ec)) return;
    const auto parent = std::filesystem::path(path).parent_path();
    if (!parent.empty()) std::filesystem::create_directories(parent, ec);
    if (::mkdir(path.c_str(), mode) != 0 && errno != EEXIST)
        throw std::runtime_error(path + ": cannot make this directory: " + std::strerror(errno) +
                                 " (make it writable for this user, or choose another in the configuration)");
}

void use_all_descriptors() noexcept
{
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
}

class server {
public:
    server(config::settings settings, const config::sources& from)
        : from_(from)
        , log_(settings.log)
        , rt_(make_runtime(std::move(settings)))
        , inflight_(prepare_state(*rt_->settings) + "/inflight.journal", rt_->settings->store.journal_slots,
                    for_power())
        , books_(rt_->settings->store.directory, inflight_, for_power(), {},
                 [this](metering::record& left) { metering::book_at(left, *rt_->prices); })
        , meters_(KEYHOLE_VERSION)
        , store_(rt_->settings->store.directory)
        , shared_{registry_, inflight_, books_, meters_, log_, helpers_}
        , work_(asio::make_work_guard(control_))
        , signals_(control_.get_executor())
        , tick_(control_.get_executor())
        , quiet_(control_.get_executor())
    {
        // Said before anything else can happen to this process: it is the only trace of what a crash left.
        for (const auto& remark : inflight_.remarks())
            log_.warn(remark);
        if (!inflight_.remarks().empty()) log_.flush();
        for (const auto& note : rt_->settings->notes)
            log_.info(note);
        const auto known = store_.load_into(registry_, books_, metering::now_us());
        log_.info("sessions loaded", {{"count", std::to_string(known)}});
        prices_ = rt_->prices;
        // After the budgets are restored: they need today's rows only, and the sums of what is pruned stay.
        books_.keep_rows(rt_->settings->ledger.keep_days);
        start_workers();
        bind_listeners();
        meters_.set_gauges_source([this] { return gauges(); });
        admin_ = std::make_unique<admin_server>(control_, surface(), *rt_->settings);
    }

    int run()
    {
        for (const int s : {SIGTERM, SIGINT, SIGHUP})
            signals_.add(s);
        wait_for_signal();
        for (const auto& l : listeners_)
            l->start([this] { return next_worker(); });
        for (const auto& s : registry_.all())
            if (s->info.own_socket) restore_own_socket(s);
        log_.info("ready", {{"version", KEYHOLE_VERSION},
                            {"workers", std::to_string(workers_.size())},
                            {"providers", provider_names()},
                            {"admin", rt_->settings->admin.socket}});
        forget_start();
        rest_when_quiet();
        control_.run();
        log_.info("stopped");
        log_.flush();
        return 0;
    }

    ~server()
    {
        admin_.reset();
        listeners_.clear();
        own_.clear();
        for (const auto& w : workers_)
            w->stop();
        helpers_.join();
    }

private:
    bool for_power() const noexcept { return rt_->settings->store.durable == config::durability::power; }

    static std::string prepare_state(const config::settings& s)
    {
        make_directory(s.store.directory, 0700);
        return s.store.directory;
    }

    void start_workers()
    {
        const auto cores = std::max(1U, std::thread::hardware_concurrency());
        const auto count = rt_->settings->workers != 0 ? rt_->settings->workers : cores;
        // Connections are dealt out in turns, so the limit is held worker by worker.
        const std::size_t share = (rt_->settings->bounds.max_connections + count - 1) / count;
        for (unsigned i = 0; i < count; ++i)
            shared_.crew.push_back(
                workers_.emplace_back(std::make_unique<worker>(shared_, rt_, share)).get());
        for (const auto& w : workers_)
            w->start();
    }

    void bind_listeners()
    {
        const auto& a = rt_->settings->agents;
        for (const auto& path : a.sockets) {
            make_directory(std::filesystem::path(path).parent_path().string(), 0755);
            const auto bound = bind_unix(path, {.mode = a.socket_mode, .group = a.socket_group});
            listeners_.push_back(std::make_unique<listener>(control_, bound, false, path, nullptr));
            log_.info("listening for agents", {{"socket", path}});
        }
        for (const auto& at : a.tcp) {
            const int fd = bind_tcp(at);
            listeners_.push_back(std::make_unique<listener>(control_, bound_socket{fd}, true, "", nullptr));
            log_.info("listening for agents", {{"tcp", at.host + ':' + std::to_string(at.port)}});
        }
    }

    /// Exact turns: streams are few and long, so an even spread matters more than anything a cleverer choice
    /// could know.
    worker* next_worker() noexcept
    {
        auto* w = workers_[turn_].get();
        turn_ = (turn_ + 1) % workers_.size();
        return w;
    }

    std::string own_directory(const session& s) const
    {
        return rt_->settings->agents.session_sockets + '/' + s.info.id;
    }

    /// On the control thread.
    std::string bind_own_socket(const session_ptr& s)
    {
        const auto& a = rt_->settings->agents;
        const auto directory = own_directory(*s);
        make_directory(a.session_sockets, 0755);
        make_directory(directory, 0755);
        const auto path = directory + "/llm.sock";
        const auto bound = bind_unix(path, {.mode = a.socket_mode, .group = a.socket_group});
        auto l = std::make_unique<listener>(control_, bound, false, path, s);
        l->start([this] { return next_worker(); });
        own_.push_back(std::move(l));
        return path;
    }

    void restore_own_socket(const session_ptr& s)
    {
        try {
            bind_own_socket(s);
        } catch (const std::exception& e) {
            log_.error("a session's own socket could not be bound again",
                       {{"session", s->info.id}, {"why", e.what()}});
        }
    }

    /// Any thread: the running streams are cut on their workers, the session's own socket is closed on the
    /// control thread.
    void revoked(const session_ptr& s)
    {
        for (const auto& w : workers_)
            w->end_session(s);
        asio::post(control_, [this, s] {
            const auto removed = std::erase_if(own_, [&](const auto& l) { return l->bound() == s; });
            std::error_code ignored;
            if (removed != 0) std::filesystem::remove(own_directory(*s), ignored);
        });
        log_.info("session revoked", {{"session", s->info.id}});
    }

    control_surface surface()
    {
        control_surface out{registry_, store_, books_, meters_, {}, {}, {}, {}, {}};
        out.settings = [this] { return rt_->settings; };
        out.revoked = [this](const session_ptr& s) { revoked(s); };
        out.bind_own_socket = [this](const session_ptr& s) { return bind_own_socket(s); };
        out.prices = [this] { return prices_.load(); };
        out.not_ready = [this]() -> std::string {
            if (shared_.draining) return "draining";
            const auto health = books_.health();
            return health.failing ? "ledger: " + health.last_error : std::string();
        };
        out.stranger = [this](std::string_view peer) { strangers_.refused(peer, clock::now()); };
        out.agent_connections = [this] { return shared_.agent_connections.load(std::memory_order_relaxed); };
        return out;
    }

    metering::metrics::gauges gauges() const
    {
        metering::metrics::gauges g;
        g.journal_used = inflight_.used();
        g.journal_capacity = inflight_.capacity();
        g.ledger = books_.health();
        g.sessions = registry_.size();
        g.agent_connections = shared_.agent_connections.load(std::memory_order_relaxed);
        for (const auto& w : workers_)
            g.upstream_idle += w->idle_upstream();
        g.drains = shared_.drains.load(std::memory_order_relaxed);
        return g;
    }

    std::string provider_names() const
    {
        std::string out;
        for (const auto& e : rt_->endpoints)
            out += (out.empty() ? "" : ",") + e->provider.name;
        return out;
    }

    void wait_for_signal()
    {
        signals_.async_wait([this](error_code ec, int number) {
            if (ec) return;
            if (number == SIGHUP)
                reload();
            else if (!shared_.draining)
                begin_drain();
            else
                end_now();
            wait_for_signal();
        });
    }

    void reload()
    {
        try {
            auto loaded = config::load(from_);
            if (const auto* problems = std::get_if<std::vector<config::problem>>(&loaded)) {
                for (const auto& p : *problems)
                    log_.error("configuration not reloaded: " + config::to_string(p));
                return;
            }
            auto next = make_runtime(std::get<config::settings>(std::move(loaded)));
            log_.configure(next->settings->log);
            books_.keep_rows(next->settings->ledger.keep_days);
            rt_ = next;
            prices_ = next->prices;
            for (const auto& w : workers_)
                w->use(next);
            log_.info(
                "configuration reloaded (listeners, state and workers keep their values until a restart)",
                {{"providers", provider_names()}});
        } catch (const std::exception& e) {
            log_.error("configuration not reloaded", {{"why", e.what()}});
        }
    }

    void begin_drain()
    {
        shared_.draining = true;
        log_.info("draining: new requests are refused, running ones may finish",
                  {{"connections", std::to_string(shared_.agent_connections.load())}});
        for (const auto& l : listeners_)
            l->close();
        for (const auto& l : own_)
            l->close();
        for (const auto& w : workers_)
            w->drain();
        give_up_at_ = clock::now() + seconds_of(rt_->settings->shutdown_grace);
        watch_drain();
    }

    /// After a busy time, what it took is given back, once: when a second passes without a row and with no
    /// more connections than before it.
    void rest_when_quiet()
    {
        quiet_.expires_after(std::chrono::seconds(1));
        quiet_.async_wait([this](error_code ec) {
            if (ec) return;
            const auto rows = books_.health().rows_written;
            const auto connections = shared_.agent_connections.load(std::memory_order_relaxed);
            const bool still = rows == rows_seen_ && connections == connections_seen_;
            if (still && !rested_) {
                inflight_.rest();
                return_freed();
            }
            rested_ = still;
            rows_seen_ = rows;
            connections_seen_ = connections;
            rest_when_quiet();
        });
    }

    void watch_drain()
    {
        std::size_t open = 0;
        for (const auto& w : workers_)
            open += w->connections();
        if (open == 0) return end_now();
        if (clock::now() >= give_up_at_) {
            log_.warn("the grace period is over: cutting what still runs",
                      {{"connections", std::to_string(open)}});
            return end_now();
        }
        tick_.expires_after(std::chrono::milliseconds(20));
        tick_.async_wait([this](error_code ec) {
            if (!ec) watch_drain();
        });
    }

    void end_now()
    {
        if (std::exchange(ended_, true)) return;
        admin_->stop();
        for (const auto& w : workers_)
            w->stop();
        books_.flush(5);
        control_.stop();
    }

    config::sources from_;
    logger log_;
    strangers strangers_{log_};
    std::atomic<metering::price_table_ptr> prices_;  ///< the runtime's, for the control plane's helpers
    runtime_ptr rt_;                                 ///< control thread; workers have their own copy
    metering::journal inflight_;
    metering::ledger books_;
    metering::metrics meters_;
    session_registry registry_;
    session_store store_;
    asio::thread_pool helpers_{1};
    services shared_;
    asio::io_context control_{1};
    asio::executor_work_guard<executor> work_;
    asio::basic_signal_set<executor> signals_;
    timer tick_;
    timer quiet_;
    std::uint64_t rows_seen_ = 0;
    std::uint64_t connections_seen_ = 0;
    bool rested_ = false;  ///< since the last busy second
    std::vector<std::unique_ptr<worker>> workers_;
    std::vector<std::unique_ptr<listener>> listeners_;
    std::vector<std::unique_ptr<listener>> own_;  ///< sessions' own sockets
    std::unique_ptr<admin_server> admin_;
    std::size_t turn_ = 0;
    clock::time_point give_up_at_{};
    bool ended_ = false;
};

}  // namespace

void guard_process() noexcept
{
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_CORE, &none);
#if !defined(__SANITIZE_ADDRESS__)  // LeakSanitizer attaches to its own process
    ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
    std::signal(SIGPIPE, SIG_IGN);
}

int serve(config::settings settings, const config::sources& from)
{
    use_all_descriptors();
    tune_allocator();
    server s(std::move(settings), from);
    return s.run();
}

}  // namespace keyhole::proxy
