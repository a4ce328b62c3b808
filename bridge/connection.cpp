#include "bridge/connection.hpp"

#include <sys/mman.h>

namespace keyhole::bridge {

char* buffer_pool::take() noexcept
{
    if (count_ != 0) return spare_[--count_];
    void* fresh =
        ::mmap(nullptr, held_bytes::capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return fresh == MAP_FAILED ? nullptr : static_cast<char*>(fresh);
}

void buffer_pool::give(char* buffer) noexcept
{
    if (buffer == nullptr) return;
    if (count_ < most_spare)
        spare_[count_++] = buffer;
    else
        ::munmap(buffer, held_bytes::capacity);
}

void connection_list::push_back(connection& c) noexcept
{
    c.previous = last_;
    c.next = nullptr;
    (last_ != nullptr ? last_->next : first_) = &c;
    last_ = &c;
}

void connection_list::remove(connection& c) noexcept
{
    (c.previous != nullptr ? c.previous->next : first_) = c.next;
    (c.next != nullptr ? c.next->previous : last_) = c.previous;
    c.previous = nullptr;
    c.next = nullptr;
}

}  // namespace keyhole::bridge
