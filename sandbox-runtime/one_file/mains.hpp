// The two programs' main(), under the names that they have in the common file.
#pragma once

int keyhole_bridge_main(int argc, char** argv, char** envp);
int keyhole_init_main(int argc, char** argv, char** envp);
