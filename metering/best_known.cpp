#include "metering/best_known.hpp"

#include "metering/estimate.hpp"

namespace keyhole::metering {

best_known best_known_usage(const reading& seen, const answer_context& of)
{
    best_known out{seen.counts, seen.source};
    const bool cut = !of.complete && !seen.terminal;
    const std::int64_t written = estimate_output(of.format, seen.text, of.streamed);
    if (seen.source == usage_source::none && (!seen.text.empty() || cut)) {
        out.counts = {};
        out.counts.input = of.counted_input ? *of.counted_input : estimate_input(of.format, of.request_body);
        out.counts.input += of.kept_input;
        out.counts.output = written;
        out.source = usage_source::estimated;
    } else if (cut && written > seen.counts.all_output()) {
        // The provider told the input at the beginning; what it wrote since then is counted from its text.
        out.counts.output += written - seen.counts.all_output();
        out.source = usage_source::estimated;
    }
    return out;
}

}  // namespace keyhole::metering
