// Keys that need more than a type and a range: how each is read and checked, and what is said about it. The
// table of keys (schema.cpp) names them. Thread rule: used by load() alone.
#pragma once

#include "config/schema.hpp"

#include <string>

namespace keyhole::config {

void read_sockets(settings& into, const node& value, const std::string& key, reading& with);
void read_socket(settings& into, const node& value, const std::string& key, reading& with);
void read_socket_mode(settings& into, const node& value, const std::string& key, reading& with);
void read_socket_group(settings& into, const node& value, const std::string& key, reading& with);
void read_agents_tcp(settings& into, const node& value, const std::string& key, reading& with);
void read_hand_off_uids(settings& into, const node& value, const std::string& key, reading& with);
void read_admin_socket(settings& into, const node& value, const std::string& key, reading& with);
void read_admin_tcp(settings& into, const node& value, const std::string& key, reading& with);
void read_admin_token(settings& into, const node& value, const std::string& key, reading& with);
void read_metrics_listen(settings& into, const node& value, const std::string& key, reading& with);
void read_base_url(provider_draft& into, const node& value, const std::string& key, reading& with);
void read_key(provider_draft& into, const node& value, const std::string& key, reading& with);
void read_keys(provider_draft& into, const node& value, const std::string& key, reading& with);
void read_headers(provider_draft& into, const node& value, const std::string& key, reading& with);
void read_ca_file(provider_draft& into, const node& value, const std::string& key, reading& with);
void read_price_path(price_file& into, const node& value, const std::string& key, reading& with);

}  // namespace keyhole::config
