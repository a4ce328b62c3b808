#include "metering/best_known.hpp"

#include "metering/estimate.hpp"

#include <algorithm>

namespace keyhole::metering {

best_known best_known_usage(const reading& seen, const answer_context& of)
{
    best_known out{seen.counts, seen.source};
    const bool cut = !of.complete && !seen.terminal;
    const std::int64_t written = estimate_output(of.format, seen.text, of.streamed);
    if (seen.source == usage_source::none && (!seen.text.empty() || cut)) {
        out.counts = {};
        out.source = usage_source::estimated;
        if (of.format == wire::mistral_ocr) {
            out.counts.web_searches = std::max<std::int64_t>(seen.counts.web_searches, 1);  // a page at least
            return out;
        }
        out.counts.input = of.counted_input ? *of.counted_input : estimate_input(of.format, of.request_body);
        out.counts.output = written;
    } else if (cut && written > seen.counts.all_output()) {
        // The provider told the input at the beginning; what it wrote since then is counted from its text.
        out.counts.output += written - seen.counts.all_output();
        out.source = usage_source::estimated;
    }
    return out;
}

}  // namespace keyhole::metering
