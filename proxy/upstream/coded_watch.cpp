#include "proxy/upstream/coded_watch.hpp"

#include <utility>

namespace keyhole::proxy::upstream {

coded_watch::coded_watch(std::string_view coding, std::string_view key) : masker_(key)
{
    bool known = false;
    decoder_ = metering::content_decoder::make(coding, known);
}

void coded_watch::on_decoded(std::string_view bytes)
{
    std::string text = std::exchange(waiting_, {});
    text += bytes;
    const auto waits = masker_.mask(text, found_);
    waiting_ = text.substr(text.size() - waits);
}

coded_watch::verdict coded_watch::look(std::string_view coded, bool last)
{
    if (decoder_) decoder_->feed(coded, *this);
    if (swollen()) return verdict::key_found;
    if (found_) return verdict::key_found;
    if (waiting_.empty()) return verdict::clear;
    return last ? verdict::key_found : verdict::unsure;  // a long part of the key is a leak as well
}

}  // namespace keyhole::proxy::upstream
