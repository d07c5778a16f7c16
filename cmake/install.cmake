# What `cmake --install` and the packages bring besides the programs and plugins. Components are packages: hatchd (the
# default), plugin-… for what takes a library of its own, sdk for those who write hatches.

# Files that name programs say /usr/bin in the tree; installed elsewhere they say where.
function(install_with_paths source destination)
  install(CODE "
    file(READ \"${CMAKE_CURRENT_SOURCE_DIR}/${source}\" text)
    string(REPLACE \"/usr/bin/hatch\" \"\${CMAKE_INSTALL_PREFIX}/bin/hatch\" text \"\${text}\")
    file(WRITE \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${destination}\" \"\${text}\")
    message(STATUS \"Installing: \$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${destination}\")")
endfunction()
install_with_paths(systemd/hatchd.service lib/systemd/system/hatchd.service)
install_with_paths(systemd/hatchd@.service lib/systemd/system/hatchd@.service)
install(FILES systemd/hatchd.socket DESTINATION lib/systemd/system)
install(FILES systemd/hatchd.sysusers DESTINATION lib/sysusers.d RENAME hatchd.conf)
install(FILES systemd/hatchd.tmpfiles DESTINATION lib/tmpfiles.d RENAME hatchd.conf)
install(DIRECTORY systemd/rights DESTINATION ${CMAKE_INSTALL_DATADIR}/hatchd)

install(FILES config/hatchd.schema.json DESTINATION ${CMAKE_INSTALL_DATADIR}/hatchd)
install(FILES config/hatchd.json DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/hatchd/examples)
# Where hatchd looks without being told, whatever the prefix. An edited one stays, as a conffile does.
install(CODE "
  if(NOT EXISTS \"\$ENV{DESTDIR}/etc/hatchd/hatchd.json\")
    file(INSTALL \"${CMAKE_CURRENT_SOURCE_DIR}/packaging/hatchd.json\" DESTINATION /etc/hatchd)
  endif()")

# Completions say what the program just built says.
foreach(shell bash zsh fish)
  set(place_bash bash-completion/completions/hatchctl)
  set(place_zsh zsh/vendor-completions/_hatchctl)
  set(place_fish fish/vendor_completions.d/hatchctl.fish)
  install(CODE "
    set(file \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_DATADIR}/${place_${shell}}\")
    cmake_path(GET file PARENT_PATH folder)
    file(MAKE_DIRECTORY \"\${folder}\")
    execute_process(COMMAND \"${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/hatchctl\" completion ${shell}
                    OUTPUT_FILE \"\${file}\" COMMAND_ERROR_IS_FATAL ANY)")
endforeach()

# install_compressed(COMPONENT SOURCE PLACE): PLACE below the prefix, by gzip without name and time.
function(install_compressed component source place)
  install(CODE "
    set(file \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${place}\")
    cmake_path(GET file PARENT_PATH folder)
    file(MAKE_DIRECTORY \"\${folder}\")
    execute_process(COMMAND gzip -9nc \"${source}\" OUTPUT_FILE \"\${file}\" COMMAND_ERROR_IS_FATAL ANY)"
    COMPONENT ${component})
endfunction()
find_package(Python3 COMPONENTS Interpreter REQUIRED)
# The keys in hatchd.json(5) are the schema's.
add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/hatchd.json.5
  COMMAND Python3::Interpreter packaging/keys.py docs/man/hatchd.json.5.in config/hatchd.schema.json > ${CMAKE_BINARY_DIR}/hatchd.json.5
  DEPENDS packaging/keys.py docs/man/hatchd.json.5.in config/hatchd.schema.json
  WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} VERBATIM)
add_custom_target(man ALL DEPENDS ${CMAKE_BINARY_DIR}/hatchd.json.5)
install_compressed(hatchd ${CMAKE_CURRENT_SOURCE_DIR}/docs/man/hatchd.8 ${CMAKE_INSTALL_MANDIR}/man8/hatchd.8.gz)
install_compressed(hatchd ${CMAKE_CURRENT_SOURCE_DIR}/docs/man/hatchctl.1 ${CMAKE_INSTALL_MANDIR}/man1/hatchctl.1.gz)
install_compressed(hatchd ${CMAKE_BINARY_DIR}/hatchd.json.5 ${CMAKE_INSTALL_MANDIR}/man5/hatchd.json.5.gz)
