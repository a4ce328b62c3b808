// Drives one target: one thread, one epoll set. Closed loop: each connection asks again as soon as it has its
// answer. Open loop: requests are due at a fixed rate; one that finds no idle connection waits, and its
// latency still counts from when it was due, so a target that stalls cannot hide it (no coordinated
// omission). Thread rule: one thread owns it all.
#pragma once

#include "bench/load/answer.hpp"
#include "bench/load/plan.hpp"

#include <cstdint>
#include <ctime>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace keyhole::bench {

class generator {
public:
    explicit generator(const plan& p);
    ~generator();
    generator(const generator&) = delete;
    generator& operator=(const generator&) = delete;

    void run();
    const totals& result() const noexcept { return totals_; }
    /// What went wrong, and how often. A run with an entry here proves nothing.
    const std::map<std::string, std::uint64_t>& faults() const noexcept { return faults_; }
    /// From the first request to the last answer.
    double seconds() const noexcept;

private:
    struct connection;

    void open(connection& c);
    void start_what_is_due();
    bool may_start(std::int64_t now) const noexcept;
    void start(connection& c, std::int64_t due);
    void push(connection& c);
    void on_ready(connection& c, std::uint32_t events);
    void read(connection& c, bool to_the_end);
    void complete(connection& c);
    void fail(connection& c, const std::string& why);
    void finished(connection& c);
    void wait_and_handle(std::int64_t until);
    void hold();
    std::int64_t next_due() const noexcept;

    const plan& plan_;
    totals totals_;
    std::map<std::string, std::uint64_t> faults_;
    std::string head_;
    std::string body_;
    unique_fd epoll_;
    std::vector<std::unique_ptr<connection>> connections_;
    std::vector<connection*> idle_;
    std::vector<char> scratch_;
    std::int64_t began_ = 0;
    std::int64_t last_answer_ = 0;
    std::uint64_t started_ = 0;
    std::uint64_t under_way_ = 0;
    std::uint64_t begun_answers_ = 0;
};

}  // namespace keyhole::bench
