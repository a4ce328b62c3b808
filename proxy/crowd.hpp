// Who holds a worker's connections, and whose must go where there is no room for another: one of whoever
// holds the most, so that nobody is kept out or slowed down by what somebody else holds (NO_WAY_AROUND). A
// holder is what an agent cannot choose: the session whose own socket or valid token a connection came with,
// the bridge's channel that it was handed over through, else the user at its other end. Thread rule: one
// worker's.
#pragma once

#include <boost/intrusive/list.hpp>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>

namespace keyhole::proxy {

class connection;

struct holder_key {
    enum class sort : std::uint8_t { tcp, user, session, channel, channels };
    sort by = sort::tcp;
    std::uint64_t id = 0;  ///< a uid, or an address as a mere number
    auto operator<=>(const holder_key&) const = default;
};

inline std::uint64_t number_of(const void* address) noexcept
{
    return reinterpret_cast<std::uintptr_t>(address);
}

class crowd {
    struct holder;

public:
    /// A connection's place in it, and a part of the connection.
    class place : public boost::intrusive::list_base_hook<> {
    public:
        explicit place(connection& whose) noexcept : whose_(&whose) {}

    private:
        friend class crowd;
        connection* whose_;
        holder* of_ = nullptr;  ///< nullptr: in no crowd
    };

    crowd() = default;
    crowd(const crowd&) = delete;
    crowd& operator=(const crowd&) = delete;

    /// As that holder's last, wherever it was.
    void put(place& p, holder_key by);
    /// To the end, as if it came just now.
    void refresh(place& p) noexcept;
    void take_out(place& p) noexcept;

    /// The connection that makes room for a newcomer of `who`, no longer in the crowd: of those that hold
    /// more than `who`, or of `who`, whoever holds the most; there the one that rests longest. nullptr: there
    /// is none, as far as was looked (newcomers may be a flood, so that is bounded).
    connection* displace(holder_key who);

private:
    struct holder {
        explicit holder(holder_key k) : key(k) {}
        holder_key key;
        boost::intrusive::list<place> here;  ///< who rests longest is first
    };
    std::map<holder_key, holder> holders_;
};

}  // namespace keyhole::proxy
