#include "metering/row_insert.hpp"

#include "metering/ledger_schema.hpp"

#include <concepts>
#include <cstdint>

namespace keyhole::metering {

namespace {

struct binder {
    sqlite::statement& s;
    bool all;  ///< nothing is known of what is bound
    int at = 0;

    template <std::size_t N>
    void operator()(const char*, const fixed_text<N>& text, fixed_text<N>& bound)
    {
        ++at;
        if (!all && text.view() == bound.view()) return;
        bound = text.view();
        s.bind(at, bound.view());
    }
    template <std::integral T>
    void operator()(const char*, T value, T& bound)
    {
        ++at;
        if (!all && value == bound) return;
        bound = value;
        s.bind(at, static_cast<std::int64_t>(value));
    }
    template <class T>
        requires std::is_enum_v<T>
    void operator()(const char*, T value, T& bound)
    {
        ++at;
        if (!all && value == bound) return;
        bound = value;
        s.bind(at, to_string(value));
    }
    void operator()(const char*, const std::array<std::uint8_t, 16>& id, std::array<std::uint8_t, 16>& bound)
    {
        bound = id;
        s.bind(++at, std::span<const std::uint8_t>(bound));
    }
};

}  // namespace

row_insert::row_insert(sqlite::connection& db, const std::string& sql, std::size_t rows)
    : places_(rows), statement_(db.prepare(sql))
{
}

void row_insert::run(std::span<const record* const> rows)
{
    int before = 0;
    for (std::size_t i = 0; i < places_.size(); ++i) {
        place& p = places_[i];
        binder b{statement_, !p.known, before};
        p.known = false;  // should a bind fail
        schema::each_field(b, *rows[i], p.bound);
        p.known = true;
        before = b.at;
    }
    statement_.run();
}

}  // namespace keyhole::metering
