// NO_WAY_AROUND for what providers store under the one real key: responses, files, batches. The ledger knows
// which session made which (its rows carry the objects' ids), so a session reaches its own, and those of its
// account, and sees no others in lists. Thread rule: the exchange's worker; look-ups run on the helpers'
// thread.
#pragma once

#include "proxy/net/task.hpp"

#include <string>
#include <string_view>

namespace keyhole::proxy {

struct exchange;

/// Collects the beginning of a JSON answer and finds the "id" of what was made.
class made_object {
public:
    void feed(std::string_view bytes);
    /// Empty: not found.
    std::string id() const;
    /// A text at the top level; empty: none.
    std::string member(std::string_view name) const;

private:
    std::string text_;
};

/// The files of a batch that its maker looked at (made by the provider) are its maker's.
void adopt_results(exchange& x, const made_object& batch);

/// A listing's body without the objects of other sessions. Bytes are untouched where nothing has to go; a
/// body that is no listing (or compressed) is refused as an empty one, since what it shows can't be told.
task<std::string> keep_own_objects(exchange& x, std::string body);

}  // namespace keyhole::proxy
