#include "proxy/credential.hpp"

namespace keyhole::proxy {

void append_field(std::string& head, std::string_view name, std::string_view value)
{
    head += name;
    head += ": ";
    head += value;
    head += "\r\n";
}

void append_credential(std::string& head, config::credential_style style, const config::secret& key)
{
    switch (style) {
    case config::credential_style::bearer:
        head += "authorization: Bearer ";
        head += key.reveal();
        head += "\r\n";
        break;
    case config::credential_style::x_api_key:
        append_field(head, "x-api-key", key.reveal());
        break;
    case config::credential_style::api_key:
        append_field(head, "api-key", key.reveal());
        break;
    case config::credential_style::x_goog_api_key:
        append_field(head, "x-goog-api-key", key.reveal());
        break;
    case config::credential_style::none:
        break;
    }
}

}  // namespace keyhole::proxy
